/* Protocol buffers' wire format, as much of it as reading needs: fields one after another, each checked against the
 * end. */
#ifndef VISE_TEXT_PROTOBUF_H
#define VISE_TEXT_PROTOBUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct vise_protobuf {
    const unsigned char *at, *end;
    bool broken; /* the bytes are no message */
} vise_protobuf;

typedef struct vise_protobuf_field {
    uint32_t number;
    int wire;          /* 0 varint, 1 eight bytes, 2 bytes, 5 four bytes */
    uint64_t value;    /* wire 0, 1 and 5 */
    const char *bytes; /* wire 2 */
    size_t length;
} vise_protobuf_field;

vise_protobuf vise_protobuf_of(const char *bytes, size_t length);
/* The next field; false at the end, and where the message is broken. */
bool vise_protobuf_next(vise_protobuf *message, vise_protobuf_field *field);
/* The float of a field of wire type 5. */
float vise_protobuf_float(const vise_protobuf_field *field);

#endif

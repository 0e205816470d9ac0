#include "text/protobuf.h"

#include <string.h>

vise_protobuf vise_protobuf_of(const char *bytes, size_t length)
{
    const unsigned char *start = (const unsigned char *)bytes;

    return (vise_protobuf){start, start + length, false};
}

static bool varint(vise_protobuf *message, uint64_t *value)
{
    *value = 0;
    for (unsigned shift = 0; shift < 64 && message->at < message->end; shift += 7) {
        unsigned char byte = *message->at++;
        *value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            return shift < 63 || byte <= 1;
    }
    return false;
}

static bool fixed(vise_protobuf *message, size_t bytes, uint64_t *value)
{
    if ((size_t)(message->end - message->at) < bytes)
        return false;
    *value = 0;
    for (size_t i = 0; i < bytes; i++)
        *value |= (uint64_t)message->at[i] << (8 * i);
    message->at += bytes;
    return true;
}

static bool field_of(vise_protobuf *message, vise_protobuf_field *field)
{
    uint64_t key, length;

    if (!varint(message, &key) || key >> 3 == 0 || key >> 3 > UINT32_MAX)
        return false;
    *field = (vise_protobuf_field){.number = (uint32_t)(key >> 3), .wire = (int)(key & 7)};
    switch (field->wire) {
    case 0:
        return varint(message, &field->value);
    case 1:
        return fixed(message, 8, &field->value);
    case 5:
        return fixed(message, 4, &field->value);
    case 2:
        if (!varint(message, &length) || length > (uint64_t)(message->end - message->at))
            return false;
        field->bytes = (const char *)message->at;
        field->length = (size_t)length;
        message->at += length;
        return true;
    default:
        return false; /* groups, which nothing here has */
    }
}

bool vise_protobuf_next(vise_protobuf *message, vise_protobuf_field *field)
{
    if (message->broken || message->at == message->end)
        return false;
    message->broken = !field_of(message, field);
    return !message->broken;
}

float vise_protobuf_float(const vise_protobuf_field *field)
{
    uint32_t bits = (uint32_t)field->value;
    float value;

    memcpy(&value, &bits, sizeof value);
    return value;
}

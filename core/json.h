/* JSON, bounded: strict parsing over cJSON, getters that check type and range and name the field in their errors,
 * a writer that cannot produce invalid JSON, and an editor that changes one key and leaves every other byte alone.
 *
 * cJSON keeps numbers as doubles: integers beyond 2^53 are refused here. Documents that need more (safetensors
 * headers) have a parser of their own in formats/.
 */
#ifndef VISE_CORE_JSON_H
#define VISE_CORE_JSON_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buf.h"
#include "core/err.h"

#define VISE_JSON_DEPTH_MAX 64

/* Parses text[0..length), UTF-8. `name` (a path) opens every error. A key given twice in one object, nesting beyond
 * VISE_JSON_DEPTH_MAX, embedded NUL and trailing text are errors (VISE_EFORMAT) that name line and column.
 * Free with cJSON_Delete. */
VISE_MUST_USE vise_status vise_json_parse(const char *name, const char *text, size_t length, cJSON **out,
                                          vise_error *err);
VISE_MUST_USE vise_status vise_json_load(const char *path, size_t max_bytes, cJSON **out, vise_error *err);

/* Getters. `name` is the document for the error. `required` false: a missing or null member leaves *out as it was.
 * A wrong type, a fraction where an integer is meant, or a value outside [min, max] is VISE_EFORMAT naming name,
 * key, the value and what is expected. */
VISE_MUST_USE vise_status vise_json_int(const char *name, const cJSON *object, const char *key, bool required,
                                        int64_t min, int64_t max, int64_t *out, vise_error *err);
VISE_MUST_USE vise_status vise_json_double(const char *name, const cJSON *object, const char *key, bool required,
                                           double min, double max, double *out, vise_error *err);
VISE_MUST_USE vise_status vise_json_bool(const char *name, const cJSON *object, const char *key, bool required,
                                         bool *out, vise_error *err);
/* Borrowed from the document. */
VISE_MUST_USE vise_status vise_json_text(const char *name, const cJSON *object, const char *key, bool required,
                                         const char **out, vise_error *err);

/* The writer: calls nest, commas and escapes are its business. indent 0 gives compact output. */
typedef struct vise_json_writer {
    vise_buf *buf;
    int indent;
    int depth;
    bool first[VISE_JSON_DEPTH_MAX + 1];
    bool after_key;
} vise_json_writer;

void vise_json_begin(vise_json_writer *writer, vise_buf *buf, int indent);
void vise_json_object(vise_json_writer *writer);
void vise_json_object_end(vise_json_writer *writer);
void vise_json_array(vise_json_writer *writer);
void vise_json_array_end(vise_json_writer *writer);
void vise_json_key(vise_json_writer *writer, const char *key);
void vise_json_put_text(vise_json_writer *writer, const char *value); /* invalid UTF-8 becomes U+FFFD */
void vise_json_put_int(vise_json_writer *writer, int64_t value);
void vise_json_put_uint(vise_json_writer *writer, uint64_t value);
void vise_json_put_double(vise_json_writer *writer, double value); /* shortest text that reads back; NaN, Inf: null */
void vise_json_put_bool(vise_json_writer *writer, bool value);
void vise_json_put_null(vise_json_writer *writer);
void vise_json_put_raw(vise_json_writer *writer, const char *json); /* already valid JSON */

/* Replaces or adds (last) one member of the top-level object of text; json is its new value, NULL removes the member.
 * Everything else keeps its bytes. *out is freed with vise_free. */
VISE_MUST_USE vise_status vise_json_edit(const char *name, const char *text, const char *key, const char *json,
                                         char **out, vise_error *err);

#endif

/* Temporary folders and files for the tests of formats/. */
#ifndef VISE_TESTS_FORMATS_HELP_H
#define VISE_TESTS_FORMATS_HELP_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/err.h"
#include "core/mem.h"
#include "formats/safetensors.h"
#include "tensor/dtype.h"

/* Fails the test with the message of the error. */
#define OK(call)                  assert_status((call), VISE_OK, #call, __FILE__, __LINE__)
#define FAILS(status, text, call) assert_fails((status), (text), (call), #call, __FILE__, __LINE__)
extern vise_error help_error; /* the calls inside OK and FAILS use it; cleared by both */
void assert_status(vise_status got, vise_status wanted, const char *call, const char *file, int line);
/* The message must hold text. */
void assert_fails(vise_status wanted, const char *text, vise_status got, const char *call, const char *file,
                  int line);

/* A new folder; removed with everything in it by help_remove. */
const char *help_folder(void);
void help_remove(const char *folder);
/* folder/name in static storage; four calls are good at a time. */
const char *help_path(const char *folder, const char *name);
void help_write(const char *folder, const char *name, const void *bytes, size_t n);
void help_write_text(const char *folder, const char *name, const char *text);
/* The whole file, NUL-terminated; free it with vise_free. */
char *help_read(const char *path, size_t *n);

/* Bytes as a file of that name. */
typedef struct help_memory {
    const char *bytes;
    size_t n;
} help_memory;
vise_st_input help_input(const help_memory *memory, const char *name);

typedef struct help_tensor {
    const char *name;
    vise_dtype dtype;
    int ndim;
    int64_t shape[3];
    const void *bytes; /* NULL: a pattern that help_pattern makes */
} help_tensor;
size_t help_bytes(const help_tensor *tensor);
/* Bytes that depend on seed and place. */
void help_pattern(const char *seed, void *bytes, size_t n);
/* A safetensors file; metadata as in vise_st_write_header. */
void help_safetensors(const char *folder, const char *name, const char *metadata, const help_tensor *tensors,
                      size_t n);

#endif

/* A folder from outside: the bytes are its index, or behind a first byte of 'c' its config.json, beside shards
 * that hold a quantized weight. Opening ends with a status, and what opens can be read. */
#include <fcntl.h>

#include "formats/safetensors.h"
#include "formats/store.h"
#include "tests/fuzz/fuzz.h"

static char folder[64];

static void write_file(const char *name, const void *bytes, size_t n)
{
    char path[128];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    require(fd >= 0 && write(fd, bytes, n) == (ssize_t)n && close(fd) == 0);
}

static void remove_file(const char *name)
{
    char path[128];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    (void)unlink(path);
}

static void clean(void)
{
    static const char *const names[] = {"m1.safetensors", "m2.safetensors", VISE_INDEX_NAME, "config.json"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        remove_file(names[i]);
    (void)rmdir(folder);
}

static void write_shard(const char *name, const vise_st_tensor *tensors, size_t n, const void *data,
                        size_t n_data)
{
    vise_buf file;
    vise_buf_init(&file, 1 << 20);
    require(vise_st_write_header(tensors, n, "", 0, &file, NULL) == VISE_OK);
    vise_buf_add(&file, data, n_data);
    require(vise_buf_check(&file, name, NULL) == VISE_OK);
    write_file(name, file.data, file.length);
    vise_buf_deinit(&file);
}

/* One int4 weight [2, 64] in groups of 32 with its parts in the first shard, and a plain tensor in the second. */
static void make_folder(void)
{
    static const int64_t packed[] = {2, 8}, scale[] = {2, 2}, shape[] = {2}, zero[] = {1, 2}, plain[] = {3};
    static const int64_t of_weight[] = {2, 64};
    static const vise_st_tensor first[] = {{"m.weight_packed", VISE_DTYPE_I32, 2, packed, 0, 64},
                                           {"m.weight_scale", VISE_DTYPE_BF16, 2, scale, 64, 72},
                                           {"m.weight_shape", VISE_DTYPE_I64, 1, shape, 72, 88},
                                           {"m.weight_zero_point", VISE_DTYPE_I32, 2, zero, 88, 96}};
    static const vise_st_tensor second[] = {{"p.weight", VISE_DTYPE_F32, 1, plain, 0, 12}};
    char data[96] = {0};
    memcpy(data + 72, of_weight, sizeof of_weight);
    (void)snprintf(folder, sizeof folder, "%s/vise-fuzz-XXXXXX",
                   access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    require(mkdtemp(folder) != NULL);
    (void)atexit(clean);
    write_shard("m1.safetensors", first, 4, data, sizeof data);
    write_shard("m2.safetensors", second, 1, data, 12);
}

static void read_all(const vise_store *store)
{
    vise_pool *pool;
    vise_error err = {0};
    require(vise_pool_new(0, &pool, NULL) == VISE_OK);
    for (size_t i = 0; i < vise_store_count(store); i++) {
        const vise_logical *entry = vise_store_tensor(store, i);
        float values[4096];
        require(entry->elements <= 4096);
        vise_status status = vise_store_read_f32(store, i, 0, entry->rows, values, pool, &err);
        require(status == VISE_OK || status == VISE_EFORMAT || status == VISE_EUNSUPPORTED);
    }
    require(vise_pool_used(pool) == 0);
    vise_pool_free(pool);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char good[] =
        "{\"weight_map\": {\"m.weight_packed\": \"m1.safetensors\", \"p.weight\": \"m2.safetensors\"}}";
    bool config = size > 0 && data[0] == 'c';
    if (!*folder)
        make_folder();
    if (config) {
        write_file(VISE_INDEX_NAME, good, sizeof good - 1);
        write_file("config.json", data + 1, size - 1);
    } else {
        write_file(VISE_INDEX_NAME, data, size);
        remove_file("config.json");
    }
    vise_store *store;
    vise_error err = {0};
    vise_status status = vise_store_open(folder, &store, &err);
    if (status == VISE_OK)
        read_all(store);
    else
        require((status == VISE_EFORMAT || status == VISE_EUNSUPPORTED) && err.status == status && !store);
    vise_store_close(store);
    return 0;
}

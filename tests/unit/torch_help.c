#include "tests/unit/torch_help.h"

#include <string.h>

#include "formats/zip.h"
#include "tests/unit/formats_help.h"

void help_put(vise_buf *buf, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++)
        vise_buf_add_char(buf, (char)(i < 8 ? value >> (8 * i) & 0xFF : 0));
}

void help_zip_init(help_zip *zip)
{
    *zip = (help_zip){.entries = 0};
    vise_buf_init(&zip->buf, 1 << 24);
    vise_buf_init(&zip->directory, 1 << 20);
}

void help_zip_deinit(help_zip *zip)
{
    vise_buf_deinit(&zip->buf);
    vise_buf_deinit(&zip->directory);
}

void help_zip_add(help_zip *zip, const char *name, const void *bytes, size_t n)
{
    const size_t at = zip->buf.length, length = strlen(name);
    const uint32_t crc = vise_crc32(bytes, n);
    const size_t padding = (64 - (at + 30 + length + 4) % 64) % 64;
    help_put(&zip->buf, 0x04034b50, 4);
    help_put(&zip->buf, 0, 2);
    help_put(&zip->buf, zip->sizes_in_front ? 0 : 8, 2);
    help_put(&zip->buf, 0, 6);
    help_put(&zip->buf, zip->sizes_in_front ? crc : 0, 4);
    help_put(&zip->buf, zip->sizes_in_front ? n : 0, 4);
    help_put(&zip->buf, zip->sizes_in_front ? n : 0, 4);
    help_put(&zip->buf, length, 2);
    help_put(&zip->buf, 4 + padding, 2);
    vise_buf_add_text(&zip->buf, name);
    help_put(&zip->buf, 0x4246, 2);
    help_put(&zip->buf, padding, 2);
    for (size_t i = 0; i < padding; i++)
        vise_buf_add_char(&zip->buf, 'Z');
    vise_buf_add(&zip->buf, bytes, n);
    if (!zip->sizes_in_front) {
        help_put(&zip->buf, 0x08074b50, 4);
        help_put(&zip->buf, crc, 4);
        help_put(&zip->buf, n, 4);
        help_put(&zip->buf, n, 4);
    }
    help_put(&zip->directory, 0x02014b50, 4);
    help_put(&zip->directory, 0, 4);
    help_put(&zip->directory, zip->sizes_in_front ? 0 : 8, 2);
    help_put(&zip->directory, 0, 6);
    help_put(&zip->directory, crc, 4);
    help_put(&zip->directory, zip->zip64 ? 0xFFFFFFFFu : n, 4);
    help_put(&zip->directory, zip->zip64 ? 0xFFFFFFFFu : n, 4);
    help_put(&zip->directory, length, 2);
    help_put(&zip->directory, zip->zip64 ? 4 + 24 : 0, 2);
    help_put(&zip->directory, 0, 2 + 2 + 2 + 4);
    help_put(&zip->directory, zip->zip64 ? 0xFFFFFFFFu : at, 4);
    vise_buf_add_text(&zip->directory, name);
    if (zip->zip64) {
        help_put(&zip->directory, 1, 2);
        help_put(&zip->directory, 24, 2);
        help_put(&zip->directory, n, 8);
        help_put(&zip->directory, n, 8);
        help_put(&zip->directory, at, 8);
    }
    zip->entries++;
}

void help_zip_end(help_zip *zip)
{
    const size_t at = zip->buf.length, n = zip->directory.length;
    if (n > 0)
        vise_buf_add(&zip->buf, zip->directory.data, n);
    if (zip->zip64) {
        help_put(&zip->buf, 0x06064b50, 4);
        help_put(&zip->buf, 44, 8);
        help_put(&zip->buf, 0, 4 + 4 + 4);
        help_put(&zip->buf, zip->entries, 8);
        help_put(&zip->buf, zip->entries, 8);
        help_put(&zip->buf, n, 8);
        help_put(&zip->buf, at, 8);
        help_put(&zip->buf, 0x07064b50, 4);
        help_put(&zip->buf, 0, 4);
        help_put(&zip->buf, at + n, 8);
        help_put(&zip->buf, 1, 4);
    }
    help_put(&zip->buf, 0x06054b50, 4);
    help_put(&zip->buf, 0, 4);
    help_put(&zip->buf, zip->zip64 ? 0xFFFF : zip->entries, 2);
    help_put(&zip->buf, zip->zip64 ? 0xFFFF : zip->entries, 2);
    help_put(&zip->buf, zip->zip64 ? 0xFFFFFFFFu : n, 4);
    help_put(&zip->buf, zip->zip64 ? 0xFFFFFFFFu : at, 4);
    help_put(&zip->buf, 0, 2);
    OK(vise_buf_check(&zip->buf, "zip", &help_error));
}

/* A bounded reader of ZIP archives as torch.save writes them: entries stored without compression, ZIP64 or not.
 *
 *   entries    local header | name | extra field (torch aligns the data with it) | data | data descriptor
 *   directory  one central header for each entry
 *   the end    ZIP64 end record and its locator (when they are there) | end record | no comment
 *
 * Only the directory and the local headers are read. Checked: the end record ends the file and the directory ends
 * where the end records begin; as many entries as it says; each local header has the name, the method and - where it
 * tells them - the sizes of its central one; names are UTF-8, plain relative paths, none given twice; no entry
 * overlaps another, the directory or the end of the file. Refused as unsupported: encryption, archives in several
 * files, and - when they are asked for - entries that are compressed. At most 2^20 entries and 128 MiB of directory.
 *
 * Source: PKWARE APPNOTE 6.3.10, sections 4.3 to 4.5.
 */
#ifndef VISE_FORMATS_ZIP_H
#define VISE_FORMATS_ZIP_H

#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "core/mem.h"
#include "formats/safetensors.h"

typedef struct vise_zip_entry {
    const char *name;
    uint64_t header; /* of the local header, in the file */
    uint64_t offset; /* of the data, in the file */
    uint64_t bytes;
    uint64_t stored_bytes; /* other than bytes when compressed */
    uint32_t method;       /* 0: not compressed */
    uint32_t crc;          /* CRC-32 of the data; 0 also when the writer did not make one */
} vise_zip_entry;

/* In the arena that it was parsed into. */
typedef struct vise_zip {
    const vise_zip_entry *entries; /* by name */
    size_t n;
} vise_zip;

/* Every failure is VISE_EFORMAT or VISE_EUNSUPPORTED (but want of memory) and names file and entry. */
VISE_MUST_USE vise_status vise_zip_parse(const vise_st_input *input, vise_arena *arena, vise_zip *zip,
                                         vise_error *err);
/* NULL: no such entry. */
const vise_zip_entry *vise_zip_find(const vise_zip *zip, const char *name);
/* VISE_EUNSUPPORTED when any entry is compressed. */
VISE_MUST_USE vise_status vise_zip_check_stored(const vise_st_input *input, const vise_zip *zip,
                                                vise_error *err);
/* The data of an entry, NUL-terminated, freed with vise_free; its CRC-32 is checked when it is not 0. More than max
 * bytes are VISE_EFORMAT. */
VISE_MUST_USE vise_status vise_zip_read(const vise_st_input *input, const vise_zip_entry *entry, size_t max,
                                        char **bytes, vise_error *err);

/* CRC-32 as in ZIP and PNG. */
uint32_t vise_crc32(const void *bytes, size_t n);

#endif

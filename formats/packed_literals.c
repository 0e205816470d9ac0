#include "formats/packed_literals.h"

#include <string.h>

#include "core/cpu.h"
#include "formats/packed_tree.h"

#define BITS        VISE_LITERALS_BITS
#define SYMBOLS_MAX 6 /* of one lookup */
#define LOOKUPS     5 /* between two refills: 5 x 11 bits and up to 8 of a byte begun leave the marker */

_Static_assert(LOOKUPS *BITS + 8 < 64, "a refill must last");

/* Of this machine's byte order, which is little-endian wherever this reader works. */
static inline uint64_t load64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return v;
}

static uint32_t load_le(const uint8_t *p, int bytes)
{
    uint32_t v = 0;
    for (int i = 0; i < bytes; i++)
        v |= (uint32_t)p[i] << (8 * i);
    return v;
}

/* ---- tables -------------------------------------------------------------------------------------- */

static uint64_t entry_of(uint8_t symbol, int length)
{
    return (uint64_t)length | (uint64_t)1 << 8 | (uint64_t)symbol << 16;
}

/* What remains of a window behind its first symbol is a shorter window, and what that begins with does not
 * depend on the symbol: windows of b bits follow from those of b - length by putting one symbol in front. */
static void fill_windows(const vise_tree *tree, uint64_t *windows, int b, const uint64_t *tails)
{
    memset(windows, 0, sizeof(*windows) << b);
    for (int i = 0; i < tree->count; i++) {
        int length = tree->length[i];
        if (length > b)
            continue;
        const uint64_t *tail = tails + ((size_t)1 << (b - length));
        uint64_t *out = windows + ((size_t)tree->code[i] << (b - length));
        uint64_t first = entry_of(tree->symbol[i], length);
        for (size_t r = 0; r < (size_t)1 << (b - length); r++)
            out[r] = first + (tail[r] & 0xffff) + ((tail[r] >> 16) << 24);
    }
}

/* With a code of one bit a window holds more symbols than an entry: these tables are filled one by one. */
static void fill_capped(vise_literals_tables *tables)
{
    for (size_t w = 0; w < (size_t)1 << BITS; w++) {
        uint64_t symbols = 0;
        int used = 0, count = 0;
        while (count < SYMBOLS_MAX && used < BITS) {
            uint16_t next = tables->first[w << used & ((1 << BITS) - 1)];
            if (used + (next >> 8) > BITS)
                break;
            symbols |= (uint64_t)(next & 0xff) << (16 + 8 * count++);
            used += next >> 8;
        }
        tables->decode[w] = symbols | (uint64_t)used | (uint64_t)count << 8;
    }
}

static void fill_tables(const vise_tree *tree, vise_literals_tables *tables)
{
    for (int i = 0; i < tree->count; i++) {
        int rest = BITS - tree->length[i];
        uint16_t *first = tables->first + ((size_t)tree->code[i] << rest);
        for (size_t r = 0; r < (size_t)1 << rest; r++)
            first[r] = (uint16_t)(tree->symbol[i] | tree->length[i] << 8);
    }
    tables->ready = true;
    if (tree->shortest == 1) {
        fill_capped(tables);
        return;
    }
    tables->tails[1] = 0; /* the window of no bits */
    for (int b = 1; b < BITS; b++)
        fill_windows(tree, tables->tails + ((size_t)1 << b), b, tables->tails);
    fill_windows(tree, tables->decode, BITS, tables->tails);
}

/* ---- streams ------------------------------------------------------------------------------------- */

/* A backward bit stream. `bits` holds the next bits at its top; below the last loaded bit stands a marker,
 * so that the number of consumed bits is the number of zeros under it. */
typedef struct stream {
    uint64_t bits;
    const uint8_t *at;    /* where bits was loaded */
    const uint8_t *start; /* first byte */
    int64_t last;         /* the last place, from start, where eight bytes can be loaded */
    uint8_t *out, *end;
} stream;

/* False if the stream is too short for the fast loops (zstd has it then) or has no end mark. */
static bool open_stream(stream *s, const uint8_t *bytes, size_t n, uint8_t *out, uint8_t *end)
{
    if (n < 8 || bytes[n - 1] == 0)
        return false;
    s->start = bytes;
    s->last = (int64_t)n - 8;
    s->at = bytes + n - 8;
    s->bits = (load64(s->at) | 1) << (__builtin_clz(bytes[n - 1]) - 24 + 1);
    s->out = out;
    s->end = end;
    return true;
}

static inline __attribute__((always_inline)) void refill(stream *s)
{
    int consumed = __builtin_ctzll(s->bits);
    s->at -= consumed >> 3;
    s->bits = (load64(s->at) | 1) << (consumed & 7);
}

/* Eight bytes are stored, the symbols of the entry and what lies behind it; the next store covers what is
 * too much. Loading the entry twice is cheaper than shifting its symbols into place. */
static inline __attribute__((always_inline)) void lookup(stream *s, const uint64_t *decode)
{
    uint64_t window = s->bits >> (64 - BITS), head = decode[window];
    uint64_t symbols = load64((const uint8_t *)decode + window * 8 + 2);
    memcpy(s->out, &symbols, 8);
    s->bits <<= head & 63;
    s->out += head >> 8 & 0xff;
}

/* Rounds of lookups and a refill that certainly stay inside the stream's bytes and in front of its output's
 * end. */
static inline __attribute__((always_inline)) int64_t rounds(const stream *s)
{
    int64_t in = (s->at - s->start) / 8, out = (s->end - s->out - 8) / (LOOKUPS * SYMBOLS_MAX);
    return in < out ? in : out;
}

/* The end of a stream, symbol by symbol; all bits must be used then, and no more. */
static bool finish_stream(stream *s, const uint16_t *first)
{
    int64_t left = (s->at - s->start) * 8 + 64 - __builtin_ctzll(s->bits); /* bits in front of the position */
    while (s->out < s->end) {
        int64_t at = left - BITS;
        uint64_t window;
        if (at >= 0) {
            int64_t byte = at / 8 < s->last ? at / 8 : s->last;
            window = load64(s->start + byte) >> (at - byte * 8);
        } else {
            window = load64(s->start) << -at;
        }
        uint16_t next = first[window & ((1 << BITS) - 1)];
        *s->out++ = (uint8_t)next;
        left -= next >> 8;
        if (left < 0)
            return false;
    }
    return left == 0;
}

/* Four streams side by side hide each other's latency; what one has left when another nears its end is done
 * alone. */
static inline __attribute__((always_inline)) bool decode_four(stream s[4], const vise_literals_tables *tables)
{
    const uint64_t *decode = tables->decode;
    for (;;) {
        int64_t n = rounds(&s[0]);
        for (int k = 1; k < 4; k++)
            n = rounds(&s[k]) < n ? rounds(&s[k]) : n;
        if (n <= 0)
            break;
        stream a = s[0], b = s[1], c = s[2], d = s[3];
        do {
#pragma GCC unroll 5
            for (int i = 0; i < LOOKUPS; i++) {
                lookup(&a, decode);
                lookup(&b, decode);
                lookup(&c, decode);
                lookup(&d, decode);
            }
            refill(&a);
            refill(&b);
            refill(&c);
            refill(&d);
        } while (--n > 0);
        s[0] = a;
        s[1] = b;
        s[2] = c;
        s[3] = d;
    }
    for (int k = 0; k < 4; k++) {
        stream one = s[k];
        for (int64_t n; (n = rounds(&one)) > 0;) {
            do {
                for (int i = 0; i < LOOKUPS; i++)
                    lookup(&one, decode);
                refill(&one);
            } while (--n > 0);
        }
        if (!finish_stream(&one, tables->first))
            return false;
    }
    return true;
}

static bool decode_four_plain(stream s[4], const vise_literals_tables *tables)
{
    return decode_four(s, tables);
}

#if defined(__x86_64__)
/* The same code; BMI2 has shifts that need no fixed register. */
__attribute__((target("bmi,bmi2"))) static bool decode_four_bmi2(stream s[4],
                                                                 const vise_literals_tables *tables)
{
    return decode_four(s, tables);
}
#else
#define decode_four_bmi2 decode_four_plain
#endif

/* Four streams of bytes[0..n) with their jump table into n_out bytes. */
static bool decode_streams(const vise_literals_tables *tables, const uint8_t *bytes, size_t n, uint8_t *out,
                           size_t n_out)
{
    stream s[4];
    size_t part = (n_out + 3) / 4, at = 6;
    if (n < at || n_out < 3 * part)
        return false;
    for (int k = 0; k < 4; k++) {
        size_t size = k < 3 ? load_le(bytes + 2 * k, 2) : n - at;
        uint8_t *end = k < 3 ? out + (size_t)(k + 1) * part : out + n_out;
        if (size > n - at || !open_stream(&s[k], bytes + at, size, out + (size_t)k * part, end))
            return false;
        at += size;
    }
    return vise_cpu() >= VISE_CPU_AVX2 ? decode_four_bmi2(s, tables) : decode_four_plain(s, tables);
}

/* ---- blocks and frames --------------------------------------------------------------------------- */

/* The block's literals, which must be all of it: into out, at most room bytes. Returns their number,
 * SIZE_MAX to give up. */
static size_t decode_block(vise_literals_tables *tables, const uint8_t *block, size_t n, uint8_t *out,
                           size_t room)
{
    if (n < 5 || block[n - 1] != 0) /* the count of sequences is the last byte */
        return SIZE_MAX;
    n--;
    int kind = block[0] & 3, format = block[0] >> 2 & 3;
    if (kind == 1) { /* one byte repeated */
        int head = format == 1 ? 2 : format == 3 ? 3 : 1;
        size_t count = load_le(block, head) >> (head == 1 ? 3 : 4);
        if (n != (size_t)head + 1 || count > room)
            return SIZE_MAX;
        memset(out, block[head], count);
        return count;
    }
    if (kind < 2 || format == 0) /* uncoded, or in one stream: short */
        return SIZE_MAX;
    int head = format + 2, bits = format == 1 ? 10 : format == 2 ? 14 : 18;
    if (n < (size_t)head)
        return SIZE_MAX;
    uint64_t sizes = load_le(block, 4) >> 4 | (head > 4 ? (uint64_t)block[4] << 28 : 0);
    size_t count = sizes & ((1u << bits) - 1), coded = sizes >> bits & ((1u << bits) - 1);
    if (coded != n - (size_t)head || count > room)
        return SIZE_MAX;
    block += head;
    n -= (size_t)head;
    if (kind == 2) {
        vise_tree tree;
        size_t used = vise_tree_read(block, n, &tree);
        if (used == 0)
            return SIZE_MAX;
        fill_tables(&tree, tables);
        block += used;
        n -= used;
    }
    return tables->ready && decode_streams(tables, block, n, out, count) ? count : SIZE_MAX;
}

bool vise_literals_decode(vise_literals_tables *tables, const uint8_t *frame, size_t frame_bytes,
                          uint8_t *out, size_t n)
{
    if (frame_bytes < 6 || load_le(frame, 4) != 0xFD2FB528u || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__)
        return false;
    if (frame_bytes > n / 8 * 5) /* codes are so long that a lookup seldom yields two: zstd is faster */
        return false;
    /* No checksum, no dictionary. The content size, which the caller knows, is skipped, the window too. */
    int flags = frame[4], single = flags >> 5 & 1, size_field = flags >> 6;
    size_t at = 5 + (size_t)!single + (size_field ? (size_t)1 << size_field : (size_t)single);
    if (flags & 0x1f)
        return false;
    tables->ready = false;
    for (size_t done = 0;;) {
        if (frame_bytes < 3 || at > frame_bytes - 3)
            return false;
        uint32_t header = load_le(frame + at, 3);
        size_t size = header >> 3, stored = (header >> 1 & 3) == 1 ? 1 : size, got = size;
        at += 3;
        if (stored > frame_bytes - at)
            return false;
        switch (header >> 1 & 3) {
        case 0:
            if (size > n - done)
                return false;
            memcpy(out + done, frame + at, size);
            break;
        case 1:
            if (size > n - done)
                return false;
            memset(out + done, frame[at], size);
            break;
        case 2:
            got = decode_block(tables, frame + at, size, out + done, n - done);
            break;
        default:
            return false;
        }
        if (got == SIZE_MAX)
            return false;
        done += got;
        at += stored;
        if (header & 1)
            return done == n && at == frame_bytes;
    }
}

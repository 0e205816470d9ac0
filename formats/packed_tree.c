#include "formats/packed_tree.h"

#include <stdbool.h>
#include <string.h>

#define WEIGHTS_MAX  256
#define ACCURACY_MAX 6 /* of the FSE code of weights */

static int log2_floor(uint32_t v)
{
    return 31 - __builtin_clz(v);
}

/* Up to 16 bits at bit position `at`, least significant first; bits behind the end are 0. */
static uint32_t bits_forward(const uint8_t *bytes, size_t n, size_t at, int count)
{
    uint32_t v = 0;
    for (size_t i = 0; i < 3; i++)
        if (at / 8 + i < n)
            v |= (uint32_t)bytes[at / 8 + i] << (8 * i);
    return v >> (at % 8) & ((1u << count) - 1);
}

/* The `count` bits (at most 6) in front of bit position *at, which moves there and may become negative; bits
 * in front of the start are 0, and *at is at most the position of the last bit of n bytes. */
static uint32_t bits_backward(const uint8_t *bytes, size_t n, int64_t *at, int count)
{
    *at -= count;
    if (*at >= 0)
        return bits_forward(bytes, n, (size_t)*at, count);
    int there = count + (int)*at; /* bits that exist */
    return there > 0 ? bits_forward(bytes, n, 0, there) << (count - there) : 0;
}

typedef struct fse_table {
    int accuracy;
    struct {
        uint8_t symbol, bits;
        uint16_t base;
    } state[1 << ACCURACY_MAX];
} fse_table;

/* Probabilities in units of 1 / 2^accuracy, -1 standing for "less than one" (RFC 8878, section 4.1.1).
 * Returns the bytes used. */
static size_t read_probabilities(const uint8_t *bytes, size_t n, int probability[16], int *symbols,
                                 int *accuracy)
{
    size_t at = 4;
    if (n == 0)
        return 0;
    *accuracy = (bytes[0] & 15) + 5;
    if (*accuracy > ACCURACY_MAX)
        return 0;
    int left = 1 << *accuracy;
    for (*symbols = 0; left > 0;) {
        if (*symbols >= 16 || at > 8 * n)
            return 0;
        /* A value is in 0..left + 1; the smaller ones take one bit less. */
        uint32_t most = (uint32_t)left + 1;
        int bits = log2_floor(most) + 1;
        uint32_t spared = (1u << bits) - 1 - most;
        uint32_t value = bits_forward(bytes, n, at, bits), low = value & ((1u << (bits - 1)) - 1);
        if (low < spared) {
            value = low;
            at += (size_t)bits - 1;
        } else {
            if (value >= 1u << (bits - 1))
                value -= spared;
            at += (size_t)bits;
        }
        int p = (int)value - 1;
        probability[(*symbols)++] = p;
        left -= p < 0 ? 1 : p;
        for (uint32_t repeat = 3; p == 0 && repeat == 3; at += 2) {
            repeat = bits_forward(bytes, n, at, 2);
            if (*symbols + (int)repeat > 16)
                return 0;
            for (uint32_t i = 0; i < repeat; i++)
                probability[(*symbols)++] = 0;
        }
    }
    size_t used = (at + 7) / 8;
    return left == 0 && used <= n ? used : 0;
}

static bool build_fse(const int probability[16], int symbols, fse_table *table)
{
    const uint32_t size = 1u << table->accuracy, step = (size >> 1) + (size >> 3) + 3;
    uint32_t high = size, at = 0, next[16] = {0};
    for (int s = 0; s < symbols; s++) {
        next[s] = probability[s] < 0 ? 1 : (uint32_t)probability[s];
        if (probability[s] < 0)
            table->state[--high].symbol = (uint8_t)s;
    }
    for (int s = 0; s < symbols; s++) {
        for (int i = 0; i < probability[s]; i++) {
            table->state[at].symbol = (uint8_t)s;
            do
                at = (at + step) & (size - 1);
            while (at >= high);
        }
    }
    if (at != 0)
        return false;
    for (uint32_t i = 0; i < size; i++) {
        uint32_t x = next[table->state[i].symbol]++;
        int bits = table->accuracy - log2_floor(x);
        table->state[i].bits = (uint8_t)bits;
        table->state[i].base = (uint16_t)((x << bits) - size);
    }
    return true;
}

/* Two states that share a table take turns until one would need more bits than there are. Returns the number
 * of weights, 0 if the bytes are invalid. */
static size_t read_fse_weights(const uint8_t *bytes, size_t n, uint8_t weight[WEIGHTS_MAX])
{
    fse_table table;
    int probability[16], symbols;
    size_t used = read_probabilities(bytes, n, probability, &symbols, &table.accuracy);
    if (used == 0 || used >= n || bytes[n - 1] == 0 || !build_fse(probability, symbols, &table))
        return 0;
    int64_t at = (int64_t)(n - used - 1) * 8 + log2_floor(bytes[n - 1]);
    bytes += used;
    n -= used;
    uint32_t state[2];
    state[0] = bits_backward(bytes, n, &at, table.accuracy);
    state[1] = bits_backward(bytes, n, &at, table.accuracy);
    if (at < 0)
        return 0;
    for (size_t count = 0, turn = 0; count + 1 < WEIGHTS_MAX; turn ^= 1) {
        weight[count++] = table.state[state[turn]].symbol;
        state[turn] =
            table.state[state[turn]].base + bits_backward(bytes, n, &at, table.state[state[turn]].bits);
        if (at < 0) {
            weight[count++] = table.state[state[turn ^ 1]].symbol;
            return count;
        }
    }
    return 0;
}

/* Codes from weights: longer codes first, symbols of one length in their order. */
static bool assign_codes(uint8_t weight[WEIGHTS_MAX], size_t count, vise_tree *tree)
{
    uint32_t sum = 0;
    for (size_t s = 0; s < count; s++) {
        if (weight[s] > VISE_TREE_BITS_MAX)
            return false;
        sum += weight[s] ? 1u << (weight[s] - 1) : 0;
    }
    if (sum == 0 || count >= WEIGHTS_MAX)
        return false;
    /* The last weight is not stored: it fills the sum up to a power of two. */
    int bits = log2_floor(sum) + 1;
    uint32_t rest = (1u << bits) - sum;
    if (bits > VISE_TREE_BITS_MAX || (rest & (rest - 1)) != 0)
        return false;
    weight[count++] = (uint8_t)(log2_floor(rest) + 1);

    /* Where the symbols of a weight begin: in order, and among codes in units of the longest. */
    uint32_t number[VISE_TREE_BITS_MAX + 2] = {0}, index[VISE_TREE_BITS_MAX + 2],
                                         position[VISE_TREE_BITS_MAX + 2];
    for (size_t s = 0; s < count; s++)
        number[weight[s]]++;
    index[1] = position[1] = 0;
    for (int w = 1; w <= bits; w++) {
        index[w + 1] = index[w] + number[w];
        position[w + 1] = position[w] + (number[w] << (w - 1));
        tree->shortest = number[w] ? bits + 1 - w : tree->shortest;
    }
    tree->count = (int)index[bits + 1];
    for (size_t s = 0; s < count; s++) {
        int w = weight[s];
        if (w == 0)
            continue;
        uint32_t i = index[w]++;
        tree->symbol[i] = (uint8_t)s;
        tree->length[i] = (uint8_t)(bits + 1 - w);
        tree->code[i] = (uint16_t)(position[w] >> (w - 1));
        position[w] += 1u << (w - 1);
    }
    return tree->count >= 2;
}

size_t vise_tree_read(const uint8_t *bytes, size_t n, vise_tree *tree)
{
    uint8_t weight[WEIGHTS_MAX];
    size_t count, size;
    if (n == 0)
        return 0;
    if (bytes[0] >= 128) {
        count = bytes[0] - 127u;
        size = 1 + (count + 1) / 2;
        if (size > n)
            return 0;
        for (size_t i = 0; i < count; i++)
            weight[i] = bytes[1 + i / 2] >> (i % 2 ? 0 : 4) & 15;
    } else {
        size = 1 + (size_t)bytes[0];
        if (size > n)
            return 0;
        count = read_fse_weights(bytes + 1, size - 1, weight);
        if (count == 0)
            return 0;
    }
    return assign_codes(weight, count, tree) ? size : 0;
}

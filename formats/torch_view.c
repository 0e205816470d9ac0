/* Reading a view whose elements do not lie in the order of its shape: a range of elements is cut into boxes, a box into
 * lines along the dimension whose elements lie closest together, so that a transposed matrix is read in stripes. */
#include <string.h>

#include "formats/torch.h"

#define LINE_BYTES 32768

typedef struct reader {
    const vise_torch_view *view;
    const vise_file *file;
    vise_error *err;
} reader;

static void scatter(uint8_t *to, size_t to_step, const uint8_t *from, size_t from_step, size_t n, size_t size)
{
    switch (size) {
    case 1:
        for (size_t i = 0; i < n; i++)
            to[i * to_step] = from[i * from_step];
        break;
    case 2:
        for (size_t i = 0; i < n; i++)
            memcpy(to + i * to_step, from + i * from_step, 2);
        break;
    case 4:
        for (size_t i = 0; i < n; i++)
            memcpy(to + i * to_step, from + i * from_step, 4);
        break;
    default:
        for (size_t i = 0; i < n; i++)
            memcpy(to + i * to_step, from + i * from_step, size);
        break;
    }
}

/* n elements from the file's offset on, `stride` elements apart there and to_step bytes apart in `to`. */
static vise_status read_line(const reader *r, uint64_t offset, uint64_t stride, uint64_t n, uint8_t *to,
                             size_t to_step)
{
    const size_t size = r->view->size;
    uint8_t line[LINE_BYTES];
    if (stride == 1 && to_step == size)
        return vise_file_read_at(r->file, offset, to, (size_t)n * size, r->err);
    const uint64_t fit = LINE_BYTES / size;
    const uint64_t at_once = stride == 0 ? n : stride >= fit ? 1 : (fit - 1) / stride + 1;
    while (n > 0) {
        const uint64_t part = n < at_once ? n : at_once;
        VISE_TRY(vise_file_read_at(r->file, offset, line, (size_t)((part - 1) * stride + 1) * size, r->err));
        scatter(to, to_step, line, (size_t)stride * size, (size_t)part, size);
        to += part * to_step;
        offset += part * stride * size;
        n -= part;
    }
    return VISE_OK;
}

/* Rows [begin, end) of dimension d, the dimensions behind it whole, from the element `at` (of index 0) on. */
static vise_status read_box(const reader *r, int d, uint64_t at, int64_t begin, int64_t end, uint8_t *to)
{
    const vise_torch_view *v = r->view;
    int64_t extent[VISE_DIMS_MAX] = {0}, index[VISE_DIMS_MAX] = {0};
    size_t step[VISE_DIMS_MAX] = {0}, bytes = v->size; /* steps in bytes of `to` */
    int line = d;
    for (int i = v->ndim - 1; i >= d; i--) {
        extent[i] = i == d ? end - begin : v->shape[i];
        step[i] = bytes;
        bytes *= (size_t)extent[i];
    }
    for (int i = d; i < v->ndim; i++)
        if (extent[i] > 1 && (extent[line] <= 1 || v->strides[i] <= v->strides[line]))
            line = i;
    at += (uint64_t)begin * (uint64_t)v->strides[d];
    for (;;) {
        uint64_t from = at;
        size_t into = 0;
        for (int i = d; i < v->ndim; i++) {
            from += (uint64_t)index[i] * (uint64_t)v->strides[i];
            into += (size_t)index[i] * step[i];
        }
        VISE_TRY(read_line(r, v->start + from * v->size, (uint64_t)v->strides[line], (uint64_t)extent[line],
                           to + into, step[line]));
        int i = v->ndim - 1;
        for (; i >= d; i--) {
            if (i == line)
                continue;
            if (++index[i] < extent[i])
                break;
            index[i] = 0;
        }
        if (i < d)
            return VISE_OK;
    }
}

/* Elements [first, first + n) of the dimensions from d on, whose first element is `at`. */
static vise_status read_range(const reader *r, int d, uint64_t at, uint64_t first, uint64_t n, uint8_t *to)
{
    const vise_torch_view *v = r->view;
    uint64_t inner = 1;
    for (int i = d + 1; i < v->ndim; i++)
        inner *= (uint64_t)v->shape[i];
    while (n > 0) {
        const uint64_t row = first / inner, within = first % inner;
        uint64_t part = inner - within < n ? inner - within : n;
        if (within == 0 && n >= inner) {
            part = n - n % inner;
            VISE_TRY(read_box(r, d, at, (int64_t)row, (int64_t)(row + part / inner), to));
        } else {
            VISE_TRY(read_range(r, d + 1, at + row * (uint64_t)v->strides[d], within, part, to));
        }
        to += part * v->size;
        first += part;
        n -= part;
    }
    return VISE_OK;
}

vise_status vise_torch_view_read(const vise_torch_view *view, const vise_file *file, uint64_t offset,
                                 uint64_t n, void *bytes, vise_error *err)
{
    const reader r = {view, file, err};
    uint8_t *to = bytes;
    while (n > 0) {
        const uint64_t within = offset % view->size;
        uint64_t part = n - n % view->size;
        if (within == 0 && part > 0) {
            VISE_TRY(read_range(&r, 0, 0, offset / view->size, part / view->size, to));
        } else { /* a part of one element */
            uint8_t one[16];
            part = view->size - within < n ? view->size - within : n;
            VISE_TRY(read_range(&r, 0, 0, offset / view->size, 1, one));
            memcpy(to, one + within, (size_t)part);
        }
        to += part;
        offset += part;
        n -= part;
    }
    return VISE_OK;
}

/* The globals that torch.save writes, and what stands for calling them. */
#include <string.h>

#include "core/mem.h"
#include "formats/pickle_internal.h"

#define NO_DTYPE VISE_DTYPE_COUNT

static const vise_pickle_global globals[] = {
    {"collections", "OrderedDict", VISE_PICKLE_ORDERED_DICT, NO_DTYPE, 0},
    {"builtins", "set", VISE_PICKLE_SET, NO_DTYPE, 0},
    {"__builtin__", "set", VISE_PICKLE_SET, NO_DTYPE, 0},
    {"_codecs", "encode", VISE_PICKLE_ENCODE, NO_DTYPE, 0},
    {"torch", "Size", VISE_PICKLE_SIZE, NO_DTYPE, 0},
    {"torch", "device", VISE_PICKLE_DEVICE, NO_DTYPE, 0},
    {"torch", "Tensor", VISE_PICKLE_CLASS, NO_DTYPE, 0},
    {"torch.nn.parameter", "Parameter", VISE_PICKLE_CLASS, NO_DTYPE, 0},
    {"torch._utils", "_rebuild_tensor", VISE_PICKLE_TENSOR_V1, NO_DTYPE, 0},
    {"torch._utils", "_rebuild_tensor_v2", VISE_PICKLE_TENSOR_V2, NO_DTYPE, 0},
    {"torch._utils", "_rebuild_tensor_v3", VISE_PICKLE_TENSOR_V3, NO_DTYPE, 0},
    {"torch._utils", "_rebuild_parameter", VISE_PICKLE_PARAMETER, NO_DTYPE, 0},
    {"torch._utils", "_rebuild_parameter_with_state", VISE_PICKLE_PARAMETER_STATE, NO_DTYPE, 0},
    {"torch._tensor", "_rebuild_from_type_v2", VISE_PICKLE_FROM_TYPE, NO_DTYPE, 0},

    {"torch.storage", "UntypedStorage", VISE_PICKLE_UNTYPED, NO_DTYPE, 1},
    {"torch.storage", "_UntypedStorage", VISE_PICKLE_UNTYPED, NO_DTYPE, 1},
    {"torch", "UntypedStorage", VISE_PICKLE_UNTYPED, NO_DTYPE, 1},
    {"torch.storage", "TypedStorage", VISE_PICKLE_CLASS, NO_DTYPE, 0},
    {"torch.storage", "_TypedStorage", VISE_PICKLE_CLASS, NO_DTYPE, 0},
    {"torch", "FloatStorage", VISE_PICKLE_STORAGE_CLASS, VISE_DTYPE_F32, 4},
    {"torch", "HalfStorage", VISE_PICKLE_STORAGE_CLASS, VISE_DTYPE_F16, 2},
    {"torch", "BFloat16Storage", VISE_PICKLE_STORAGE_CLASS, VISE_DTYPE_BF16, 2},
    {"torch", "DoubleStorage", VISE_PICKLE_STORAGE_CLASS, VISE_DTYPE_F64, 8},
    {"torch", "LongStorage", VISE_PICKLE_STORAGE_CLASS, VISE_DTYPE_I64, 8},
    {"torch", "IntStorage", VISE_PICKLE_STORAGE_CLASS, VISE_DTYPE_I32, 4},
    {"torch", "ShortStorage", VISE_PICKLE_STORAGE_CLASS, VISE_DTYPE_I16, 2},
    {"torch", "CharStorage", VISE_PICKLE_STORAGE_CLASS, VISE_DTYPE_I8, 1},
    {"torch", "ByteStorage", VISE_PICKLE_STORAGE_CLASS, VISE_DTYPE_U8, 1},
    {"torch", "BoolStorage", VISE_PICKLE_STORAGE_CLASS, VISE_DTYPE_BOOL, 1},
    {"torch", "ComplexFloatStorage", VISE_PICKLE_STORAGE_CLASS, VISE_DTYPE_C64, 8},
    {"torch", "ComplexDoubleStorage", VISE_PICKLE_STORAGE_CLASS, NO_DTYPE, 16},

    {"torch", "float32", VISE_PICKLE_DTYPE, VISE_DTYPE_F32, 4},
    {"torch", "float16", VISE_PICKLE_DTYPE, VISE_DTYPE_F16, 2},
    {"torch", "bfloat16", VISE_PICKLE_DTYPE, VISE_DTYPE_BF16, 2},
    {"torch", "float64", VISE_PICKLE_DTYPE, VISE_DTYPE_F64, 8},
    {"torch", "float8_e4m3fn", VISE_PICKLE_DTYPE, VISE_DTYPE_F8_E4M3, 1},
    {"torch", "float8_e5m2", VISE_PICKLE_DTYPE, VISE_DTYPE_F8_E5M2, 1},
    {"torch", "float8_e8m0fnu", VISE_PICKLE_DTYPE, VISE_DTYPE_F8_E8M0, 1},
    {"torch", "float8_e4m3fnuz", VISE_PICKLE_DTYPE, VISE_DTYPE_F8_E4M3FNUZ, 1},
    {"torch", "float8_e5m2fnuz", VISE_PICKLE_DTYPE, VISE_DTYPE_F8_E5M2FNUZ, 1},
    {"torch", "int64", VISE_PICKLE_DTYPE, VISE_DTYPE_I64, 8},
    {"torch", "int32", VISE_PICKLE_DTYPE, VISE_DTYPE_I32, 4},
    {"torch", "int16", VISE_PICKLE_DTYPE, VISE_DTYPE_I16, 2},
    {"torch", "int8", VISE_PICKLE_DTYPE, VISE_DTYPE_I8, 1},
    {"torch", "uint64", VISE_PICKLE_DTYPE, VISE_DTYPE_U64, 8},
    {"torch", "uint32", VISE_PICKLE_DTYPE, VISE_DTYPE_U32, 4},
    {"torch", "uint16", VISE_PICKLE_DTYPE, VISE_DTYPE_U16, 2},
    {"torch", "uint8", VISE_PICKLE_DTYPE, VISE_DTYPE_U8, 1},
    {"torch", "bool", VISE_PICKLE_DTYPE, VISE_DTYPE_BOOL, 1},
    {"torch", "complex64", VISE_PICKLE_DTYPE, VISE_DTYPE_C64, 8},
    {"torch", "complex128", VISE_PICKLE_DTYPE, NO_DTYPE, 16},
    {"torch", "complex32", VISE_PICKLE_DTYPE, NO_DTYPE, 4},
    {"torch", "float4_e2m1fn_x2", VISE_PICKLE_DTYPE, NO_DTYPE, 1},
};

static bool is_name(const char *text, size_t n, const char *name)
{
    return strlen(name) == n && memcmp(text, name, n) == 0;
}

/* For a message: at most 100 bytes, nothing but ASCII that prints. */
static void show(const char *text, size_t n, char shown[101])
{
    n = n < 100 ? n : 100;
    for (size_t i = 0; i < n; i++)
        shown[i] = text[i] > 0x20 && text[i] < 0x7F ? text[i] : '?';
    shown[n] = '\0';
}

vise_status vise_pickle_find_global(const vise_pickle *p, const char *module, size_t n_module,
                                    const char *name, size_t n_name, uint32_t *index, vise_error *err)
{
    char shown_module[101], shown_name[101];
    for (uint32_t i = 0; i < sizeof globals / sizeof *globals; i++)
        if (is_name(module, n_module, globals[i].module) && is_name(name, n_name, globals[i].name)) {
            *index = i;
            return VISE_OK;
        }
    show(module, n_module, shown_module);
    show(name, n_name, shown_name);
    return VISE_FAIL(
        err, VISE_EUNSUPPORTED,
        "%s: refuses to load: global %s.%s is not on the list of what tensors need, and nothing is "
        "executed here; if you trust the file, load it in Python and save its tensors with safetensors",
        p->path, shown_module, shown_name);
}

const vise_pickle_global *vise_pickle_global_at(uint32_t index)
{
    return &globals[index];
}

/* ---- tensors ------------------------------------------------------------------------------------------- */

/* The number of a value that must be an integer of at least 0. */
static vise_status natural(const vise_pickle *p, uint32_t value, const char *what, int64_t *number,
                           vise_error *err)
{
    const vise_pickle_value *v = vise_pickle_at(p, value);
    if (v->kind != VISE_PICKLE_INT || v->number < 0)
        return vise_pickle_bad(p, what, err);
    *number = v->number;
    return VISE_OK;
}

static vise_status naturals(const vise_pickle *p, uint32_t tuple, const char *what, vise_error *err)
{
    int64_t number = 0;
    if (!vise_pickle_is(p, tuple, VISE_PICKLE_TUPLE))
        return vise_pickle_bad(p, what, err);
    for (uint32_t i = 0; i < vise_pickle_at(p, tuple)->n; i++)
        VISE_TRY(natural(p, vise_pickle_item(p, tuple, i), what, &number, err));
    return VISE_OK;
}

/* (storage, offset, shape, strides, requires_grad, hooks [, dtype] [, metadata]); the first version ends at strides. */
static vise_status rebuild_tensor(vise_pickle *p, vise_pickle_role role, uint32_t arguments, uint32_t *result,
                                  vise_error *err)
{
    const uint32_t n = vise_pickle_at(p, arguments)->n;
    const uint32_t least = role == VISE_PICKLE_TENSOR_V1 ? 4 : role == VISE_PICKLE_TENSOR_V2 ? 6 : 7;
    const uint32_t most = role == VISE_PICKLE_TENSOR_V1 ? 4 : least + 1;
    if (n < least || n > most || !vise_pickle_is(p, vise_pickle_item(p, arguments, 0), VISE_PICKLE_STORAGE))
        return vise_pickle_bad(p, "a tensor without a storage", err);
    const uint32_t storage = vise_pickle_at(p, vise_pickle_item(p, arguments, 0))->n;
    vise_pickle_tensor tensor = {
        .type = p->storages[storage].type,
        .storage = storage,
        .shape = vise_pickle_item(p, arguments, 2),
        .strides = vise_pickle_item(p, arguments, 3),
    };
    VISE_TRY(natural(p, vise_pickle_item(p, arguments, 1), "a tensor with an offset that is no count",
                     &tensor.offset, err));
    VISE_TRY(naturals(p, tensor.shape, "a tensor with a shape that is no tuple of counts", err));
    VISE_TRY(naturals(p, tensor.strides, "a tensor with strides that are no tuple of counts", err));
    if (vise_pickle_at(p, tensor.shape)->n != vise_pickle_at(p, tensor.strides)->n)
        return vise_pickle_bad(p, "a tensor with more or fewer strides than dimensions", err);
    if (role == VISE_PICKLE_TENSOR_V3) {
        const vise_pickle_value *dtype = vise_pickle_at(p, vise_pickle_item(p, arguments, 6));
        if (dtype->kind != VISE_PICKLE_GLOBAL || globals[dtype->n].role != VISE_PICKLE_DTYPE)
            return vise_pickle_bad(p, "a tensor of no dtype", err);
        tensor.type = &globals[dtype->n];
    }
    if (n == most && most > 4) {
        const vise_pickle_value *metadata = vise_pickle_at(p, vise_pickle_item(p, arguments, n - 1));
        if (metadata->kind != VISE_PICKLE_NULL &&
            (metadata->kind != VISE_PICKLE_DICT || metadata->ends[0] != VISE_PICKLE_NONE))
            return VISE_FAIL(err, VISE_EUNSUPPORTED,
                             "%s: pickle: a tensor at byte %zu is stored conjugated or negated; call its "
                             "resolve_conj() or resolve_neg() before it is saved",
                             p->path, p->at);
    }
    void *grown = p->tensors;
    VISE_TRY(vise_grow(&grown, &p->tensors_capacity, p->n_tensors + 1, sizeof *p->tensors, err));
    p->tensors = grown;
    p->tensors[p->n_tensors] = tensor;
    return vise_pickle_new(p, (vise_pickle_value){.kind = VISE_PICKLE_TENSOR, .n = (uint32_t)p->n_tensors++},
                           result, err);
}

/* (tensor, ...): a tensor and what torch would say of it. */
static vise_status same_tensor(const vise_pickle *p, uint32_t arguments, uint32_t n, uint32_t *result,
                               vise_error *err)
{
    if (vise_pickle_at(p, arguments)->n != n ||
        !vise_pickle_is(p, vise_pickle_item(p, arguments, 0), VISE_PICKLE_TENSOR))
        return vise_pickle_bad(p, "a parameter without a tensor", err);
    *result = vise_pickle_item(p, arguments, 0);
    return VISE_OK;
}

/* (rebuild, class, arguments, attributes) */
static vise_status from_type(vise_pickle *p, uint32_t arguments, uint32_t *result, vise_error *err)
{
    if (vise_pickle_at(p, arguments)->n != 4)
        return vise_pickle_bad(p, "a tensor of a class with too few arguments", err);
    const vise_pickle_value *rebuild = vise_pickle_at(p, vise_pickle_item(p, arguments, 0));
    const vise_pickle_value *class = vise_pickle_at(p, vise_pickle_item(p, arguments, 1));
    const uint32_t inner = vise_pickle_item(p, arguments, 2);
    const vise_pickle_role role =
        rebuild->kind == VISE_PICKLE_GLOBAL ? globals[rebuild->n].role : VISE_PICKLE_CLASS;
    if ((role != VISE_PICKLE_TENSOR_V2 && role != VISE_PICKLE_TENSOR_V3) ||
        class->kind != VISE_PICKLE_GLOBAL || globals[class->n].role != VISE_PICKLE_CLASS ||
        !vise_pickle_is(p, inner, VISE_PICKLE_TUPLE))
        return vise_pickle_bad(p, "a tensor of a class that is not torch's own", err);
    return rebuild_tensor(p, role, inner, result, err);
}

/* ---- calls --------------------------------------------------------------------------------------------- */

vise_status vise_pickle_call(vise_pickle *p, uint32_t callee, uint32_t arguments, uint32_t *result,
                             vise_error *err)
{
    const vise_pickle_value *called = vise_pickle_at(p, callee), *given = vise_pickle_at(p, arguments);
    if (called->kind != VISE_PICKLE_GLOBAL || given->kind != VISE_PICKLE_TUPLE)
        return vise_pickle_bad(p, "a call of what is no global", err);
    const vise_pickle_role role = globals[called->n].role;
    switch (role) {
    case VISE_PICKLE_ORDERED_DICT:
        if (given->n != 0)
            return vise_pickle_bad(p, "an OrderedDict made of a list", err);
        return vise_pickle_new(
            p, (vise_pickle_value){.kind = VISE_PICKLE_DICT, .ends = {VISE_PICKLE_NONE, VISE_PICKLE_NONE}},
            result, err);
    case VISE_PICKLE_SET:
    case VISE_PICKLE_DEVICE:
    case VISE_PICKLE_ENCODE:
        return vise_pickle_new(p, (vise_pickle_value){.kind = VISE_PICKLE_OTHER}, result, err);
    case VISE_PICKLE_SIZE:
        if (given->n != 1 || !vise_pickle_is(p, vise_pickle_item(p, arguments, 0), VISE_PICKLE_TUPLE))
            return vise_pickle_bad(p, "a torch.Size of no tuple", err);
        *result = vise_pickle_item(p, arguments, 0);
        return VISE_OK;
    case VISE_PICKLE_TENSOR_V1:
    case VISE_PICKLE_TENSOR_V2:
    case VISE_PICKLE_TENSOR_V3:
        return rebuild_tensor(p, role, arguments, result, err);
    case VISE_PICKLE_PARAMETER:
        return same_tensor(p, arguments, 3, result, err);
    case VISE_PICKLE_PARAMETER_STATE:
        return same_tensor(p, arguments, 4, result, err);
    case VISE_PICKLE_FROM_TYPE:
        return from_type(p, arguments, result, err);
    case VISE_PICKLE_CLASS:
    case VISE_PICKLE_DTYPE:
    case VISE_PICKLE_STORAGE_CLASS:
    case VISE_PICKLE_UNTYPED:
        break;
    }
    return VISE_FAIL(
        err, VISE_EUNSUPPORTED,
        "%s: refuses to load: a call of %s.%s is not what torch writes for tensors; if you trust the file, "
        "load it in Python and save its tensors with safetensors",
        p->path, globals[called->n].module, globals[called->n].name);
}

/* ("storage", class, key, location, count [, window]); window: None or (key, first, count). */
vise_status vise_pickle_load_storage(vise_pickle *p, uint32_t id, uint32_t *result, vise_error *err)
{
    int64_t count = 0, first = 0, extent;
    const vise_pickle_value *tuple = vise_pickle_at(p, id);
    if (tuple->kind != VISE_PICKLE_TUPLE || tuple->n < 5 || tuple->n > 6 ||
        !vise_pickle_is_text(p, vise_pickle_item(p, id, 0), "storage"))
        return vise_pickle_bad(p, "a persistent value that is no storage", err);
    const vise_pickle_value *class = vise_pickle_at(p, vise_pickle_item(p, id, 1));
    const vise_pickle_role role =
        class->kind == VISE_PICKLE_GLOBAL ? globals[class->n].role : VISE_PICKLE_CLASS;
    if ((role != VISE_PICKLE_STORAGE_CLASS && role != VISE_PICKLE_UNTYPED) ||
        !vise_pickle_is(p, vise_pickle_item(p, id, 2), VISE_PICKLE_TEXT))
        return vise_pickle_bad(p, "a storage without a class or a key", err);
    VISE_TRY(natural(p, vise_pickle_item(p, id, 4), "a storage of a size that is no count", &count, err));
    extent = count;
    if (tuple->n == 6 && !vise_pickle_is(p, vise_pickle_item(p, id, 5), VISE_PICKLE_NULL)) {
        const uint32_t window = vise_pickle_item(p, id, 5);
        if (!vise_pickle_is(p, window, VISE_PICKLE_TUPLE) || vise_pickle_at(p, window)->n != 3)
            return vise_pickle_bad(p, "a storage with a window that is none", err);
        VISE_TRY(natural(p, vise_pickle_item(p, window, 1), "a window that begins at no count", &first, err));
        VISE_TRY(
            natural(p, vise_pickle_item(p, window, 2), "a window of a size that is no count", &extent, err));
        if (first > count || extent > count - first)
            return vise_pickle_bad(p, "a window beyond its storage", err);
    }
    void *grown = p->storages;
    VISE_TRY(vise_grow(&grown, &p->storages_capacity, p->n_storages + 1, sizeof *p->storages, err));
    p->storages = grown;
    p->storages[p->n_storages] = (vise_pickle_storage){&globals[class->n], vise_pickle_item(p, id, 2),
                                                       (uint64_t)count, (uint64_t)first, (uint64_t)extent};
    return vise_pickle_new(
        p, (vise_pickle_value){.kind = VISE_PICKLE_STORAGE, .n = (uint32_t)p->n_storages++}, result, err);
}

/* Pickles: whatever the bytes, reading ends with a status; the values of what is read mention only values that are. */
#include "formats/pickle.h"
#include "tests/fuzz/fuzz.h"

static void check_value(const vise_pickle *p, const vise_pickle_value *v, size_t size)
{
    switch ((vise_pickle_kind)v->kind) {
    case VISE_PICKLE_LONG:
    case VISE_PICKLE_TEXT:
    case VISE_PICKLE_BYTES:
        require(v->at <= size && v->n <= size - v->at);
        break;
    case VISE_PICKLE_TUPLE:
        require(v->at <= p->n_items && v->n <= p->n_items - v->at);
        for (uint32_t i = 0; i < v->n; i++)
            require(p->items[v->at + i] < p->n_values);
        break;
    case VISE_PICKLE_LIST:
    case VISE_PICKLE_DICT:
        for (uint32_t i = v->ends[0]; i != VISE_PICKLE_NONE; i = p->entries[i].next) {
            require(i < p->n_entries && p->entries[i].value < p->n_values);
            require(v->kind == VISE_PICKLE_LIST || p->entries[i].key < p->n_values);
            require(p->entries[i].next != VISE_PICKLE_NONE || i == v->ends[1]);
        }
        break;
    case VISE_PICKLE_STORAGE:
        require(v->n < p->n_storages && p->storages[v->n].key < p->n_values);
        require(p->storages[v->n].extent <= p->storages[v->n].count);
        break;
    case VISE_PICKLE_TENSOR:
        require(v->n < p->n_tensors && p->tensors[v->n].storage < p->n_storages &&
                p->tensors[v->n].offset >= 0);
        require(vise_pickle_at(p, p->tensors[v->n].shape)->n ==
                vise_pickle_at(p, p->tensors[v->n].strides)->n);
        break;
    default:
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    vise_pickle pickle;
    vise_error err = {0};
    vise_status status = vise_pickle_read("fuzz", data, size, &pickle, &err);
    require(status == VISE_OK || err.message[0] != '\0');
    require(status == VISE_OK || status == VISE_EFORMAT || status == VISE_EUNSUPPORTED);
    if (status == VISE_OK) {
        require(pickle.root < pickle.n_values && pickle.at <= size && pickle.n_values <= size);
        for (size_t i = 0; i < pickle.n_values; i++)
            check_value(&pickle, vise_pickle_at(&pickle, (uint32_t)i), size);
    }
    vise_pickle_deinit(&pickle);
    return 0;
}

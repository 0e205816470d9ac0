#include "formats/gguf_order.h"

int64_t vise_gguf_order_unit(const vise_gguf_order *order)
{
    return order->heads * (order->queries > 0 ? order->queries + 2 : 2);
}

uint64_t vise_gguf_stored_row(const vise_gguf_order *order, uint64_t rows, uint64_t row)
{
    const uint64_t heads = (uint64_t)order->heads, queries = (uint64_t)order->queries;
    if (queries == 0) {
        const uint64_t head = rows / heads, half = head / 2, place = row % head;
        return row - place + place % half * 2 + place / half;
    }
    const uint64_t head = rows / (heads * (queries + 2)), group = row / (head * (queries + 2));
    const uint64_t block = row / head % (queries + 2), within = row % head;
    if (block < queries)
        return (group * queries + block) * head + within;
    return (heads * queries + (block - queries) * heads + group) * head + within;
}

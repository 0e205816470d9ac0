/* Inside core: fault injection shared by the three allocators. */
#ifndef VISE_CORE_MEM_FAULT_H
#define VISE_CORE_MEM_FAULT_H

#include <stdbool.h>

/* Counts one allocation; true when this is the one that vise_alloc_fail_after asked to fail. */
bool vise_alloc_must_fail(void);

#endif

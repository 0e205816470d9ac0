/* Eight lanes, as the header has it by itself. */
#include "tensor/gguf_lanes.h"

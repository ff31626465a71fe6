// Included before everything else in ggml's C++ files: AMX intrinsics that tell the compiler which memory they read.
//
// GCC 12's `_tile_loadconfig` names 8 of the 64 bytes that the instruction reads, and its `_tile_loadd` none. The compiler then drops what was
// just written there: the tiles of ggml's kernels are left without a shape, and the first use of one ends the process with SIGILL.

#if defined(__AMX_TILE__) && defined(__GNUC__) && !defined(__clang__)

#include <immintrin.h>

static inline __attribute__((always_inline)) void tabagent_tile_loadconfig(const void * config) {
    __asm__ volatile("ldtilecfg\t%X0" : : "m"(*(const char(*)[64]) config) : "memory");
}

#define TABAGENT_TILE_LOAD(instruction, tile, base, stride)                                                       \
    __asm__ volatile("{" #instruction "\t(%0,%1,1), %%tmm" #tile "|" #instruction "\t%%tmm" #tile ", [%0+%1*1]}"  \
                     :                                                                                            \
                     : "r"((const void *) (base)), "r"((long) (stride))                                           \
                     : "memory")

#undef _tile_loadd
#undef _tile_stream_loadd
// One step between, so that a tile which is named by a macro is replaced before it becomes part of the text.
#define _tile_loadd(tile, base, stride)        TABAGENT_TILE_LOAD_EXPANDED(tileloadd, tile, base, stride)
#define _tile_stream_loadd(tile, base, stride) TABAGENT_TILE_LOAD_EXPANDED(tileloaddt1, tile, base, stride)
#define _tile_loadconfig(config)               tabagent_tile_loadconfig(config)
#define TABAGENT_TILE_LOAD_EXPANDED(instruction, tile, base, stride) TABAGENT_TILE_LOAD(instruction, tile, base, stride)

#endif

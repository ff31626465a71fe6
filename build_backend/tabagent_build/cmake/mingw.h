// Included before everything else on Windows: a type that mingw-w64 has had since its version 12.

#ifndef __ASSEMBLER__

#include <_mingw.h>

#if __MINGW64_VERSION_MAJOR < 12
typedef struct _THREAD_POWER_THROTTLING_STATE {
    unsigned long Version;
    unsigned long ControlMask;
    unsigned long StateMask;
} THREAD_POWER_THROTTLING_STATE;
#define THREAD_POWER_THROTTLING_CURRENT_VERSION 1
#define THREAD_POWER_THROTTLING_EXECUTION_SPEED 1
#endif

#endif

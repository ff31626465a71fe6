// Keeps the libraries loadable on glibc 2.34 and 2.35 when they are built on a newer one.
//
// libstdc++'s `std::random_device` calls `arc4random` where the glibc of the compiler has it (2.36), and that one name would shut out
// systems that are a year older. `getentropy` has been there since 2.25 and draws from the same source of the kernel.

#if defined(__linux__)
#include <features.h>
#endif

#if defined(__GLIBC__)
#if __GLIBC_PREREQ(2, 36)

#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

__attribute__((visibility("hidden"))) uint32_t arc4random(void) {
    uint32_t value = 0;
    if (getentropy(&value, sizeof value) != 0) {
        // As glibc's own does where the kernel has no randomness to give.
        abort();
    }
    return value;
}

#endif
#endif

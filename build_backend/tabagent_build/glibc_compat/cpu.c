/* getcpu of glibc 2.29: the system call. */
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <unistd.h>

__attribute__((visibility("hidden"))) int getcpu(unsigned int *cpu, unsigned int *node) {
    return (int) syscall(SYS_getcpu, cpu, node, (void *) 0);
}

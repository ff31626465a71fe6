/* What libstdc++ asks before it leaves out atomic operations (glibc 2.32). Saying "there may be threads" is always right. */
__attribute__((visibility("hidden"))) char __libc_single_threaded = 0;

/* A program's start. Since glibc 2.34 crt1.o gives __libc_start_main no function that runs the constructors, because libc finds them by itself; an
   older libc runs none then. This one stands between: it is what crt1.o calls, and gives libc such a function. A newer libc calls it, too, and then
   does not run them by itself (csu/libc-start.c, `__libc_start_main_impl`). */
#include <stddef.h>

typedef void (*constructor)(int, char **, char **);

extern constructor __init_array_start[] __attribute__((visibility("hidden")));
extern constructor __init_array_end[] __attribute__((visibility("hidden")));
extern void _init(void);

extern int tabagent_start_main(int (*)(int, char **, char **), int, char **, constructor, void (*)(void), void (*)(void), void *);
#if defined(__x86_64__)
__asm__(".symver tabagent_start_main, __libc_start_main@GLIBC_2.2.5");
#elif defined(__aarch64__)
__asm__(".symver tabagent_start_main, __libc_start_main@GLIBC_2.17");
#else
#error "the first version of `__libc_start_main` is not known for this processor"
#endif

static void construct(int count, char **arguments, char **environment) {
    _init();
    for (constructor *each = __init_array_start; each < __init_array_end; each++) {
        (*each)(count, arguments, environment);
    }
}

/* Destructors are the loader's matter. */
__attribute__((visibility("hidden"))) int __libc_start_main(int (*run)(int, char **, char **), int count, char **arguments, constructor none,
                                                            void (*end)(void), void (*loader_end)(void), void *stack) {
    (void) none;
    return tabagent_start_main(run, count, arguments, construct, end, loader_end, stack);
}

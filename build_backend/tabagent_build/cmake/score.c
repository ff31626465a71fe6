// Prints the score that ggml gives one CPU module on this processor; 0 says that the module cannot run here.

#include <stdio.h>

int ggml_backend_score(void);

int main(void) {
    printf("%d\n", ggml_backend_score());
    return 0;
}

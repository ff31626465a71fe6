// Stands between Rust and llama.cpp: turns C++ exceptions into error codes and texts, and failed assertions into exceptions where that is safe.
//
// It knows nothing of llama.cpp's headers, so one build of it serves every build of llama.cpp. It shares libgcc_s with the libraries: an exception
// that one of them throws is unwound by the same code here.

#include <cstddef>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <exception>
#include <new>
#include <stdexcept>

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <unwind.h>

namespace {

constexpr int RETURNED = 0;
constexpr int THREW = 1;
constexpr int ASSERTED = 2;
constexpr int NO_MEMORY = 3;
constexpr off_t MOST_CRASH_BYTES = 64 * 1024;

// A failed assertion of ggml or llama.cpp.
struct assertion : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// Calls of this thread that are under way.
thread_local int depth = 0;

struct counted {
    counted() { ++depth; }
    ~counted() { --depth; }
};

char crash_path[4096];

const char * file_name(const char * path) {
    const char * slash = std::strrchr(path, '/');
    return slash ? slash + 1 : path;
}

// The assertion without the folders of the machine that built the library.
const char * without_folders(const char * message) {
    const char * end = std::strstr(message, ": ");
    const char * start = message;
    for (const char * at = message; end && at < end; ++at) {
        if (*at == '/') start = at + 1;
    }
    return start;
}

struct stack_facts {
    const void * own;
    bool in_backend;
    bool caught;
    int frames;
};

_Unwind_Reason_Code look_at(struct _Unwind_Context * context, void * data) {
    auto & facts = *static_cast<stack_facts *>(data);
    Dl_info info{};
    if (!dladdr(reinterpret_cast<void *>(_Unwind_GetIP(context)), &info) || !info.dli_fname) {
        return _URC_NO_REASON;
    }
    // The first frames are those of the callback itself.
    if (info.dli_fbase == facts.own && facts.frames > 0) {
        facts.caught = true;
        return _URC_END_OF_STACK;
    }
    if (info.dli_fbase != facts.own) {
        ++facts.frames;
        const char * name = file_name(info.dli_fname);
        // `libggml-cpu-haswell.so` and the like compute on several threads, which wait for each other: none of them may leave.
        if (std::strncmp(name, "libggml-", 8) == 0 && std::strncmp(name, "libggml-base", 12) != 0) facts.in_backend = true;
    }
    return _URC_NO_REASON;
}

// Whether an exception thrown now reaches `tabagent_call` and leaves no thread waiting.
bool can_leave() {
    Dl_info own{};
    if (depth == 0 || !dladdr(reinterpret_cast<void *>(&can_leave), &own)) return false;
    stack_facts facts{own.dli_fbase, false, false, 0};
    _Unwind_Backtrace(look_at, &facts);
    return facts.caught && !facts.in_backend;
}

// One line on stderr and in the crash file; ggml ends the process afterwards.
void last_words(const char * message) {
    char when[32] = "";
    const std::time_t now = std::time(nullptr);
    struct tm parts{};
    if (gmtime_r(&now, &parts)) std::strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &parts);
    char line[2600];
    const int length = std::snprintf(line, sizeof line, "tabagent: %s process %ld: llama.cpp gives up: %s\n", when, static_cast<long>(getpid()), message);
    const size_t count = length < 0 ? 0 : (static_cast<size_t>(length) < sizeof line ? static_cast<size_t>(length) : sizeof line - 1);
    ssize_t ignored = write(STDERR_FILENO, line, count);
    if (crash_path[0]) {
        struct stat facts{};
        const bool is_long = stat(crash_path, &facts) == 0 && facts.st_size > MOST_CRASH_BYTES;
        const int file = open(crash_path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | (is_long ? O_TRUNC : O_APPEND), 0600);
        if (file >= 0) {
            ignored = write(file, line, count);
            close(file);
        }
    }
    (void) ignored;
}

void on_abort(const char * message) {
    const char * words = without_folders(message);
    if (can_leave()) throw assertion(words);
    last_words(words);
}

int told(int code, const char * words, char * text, size_t capacity) {
    if (capacity > 0) std::snprintf(text, capacity, "%s", words);
    return code;
}

} // namespace

extern "C" {

// Runs `work(data)`. What it throws becomes a code and, in `text`, its words. A Rust panic passes through.
__attribute__((visibility("default"))) int tabagent_call(void (*work)(void *), void * data, char * text, size_t capacity) {
    counted here;
    try {
        work(data);
        return RETURNED;
    } catch (const assertion & error) {
        return told(ASSERTED, error.what(), text, capacity);
    } catch (const std::bad_alloc & error) {
        return told(NO_MEMORY, error.what(), text, capacity);
    } catch (const std::exception & error) {
        return told(THREW, error.what(), text, capacity);
    }
}

// Has ggml call this library before it aborts. `set` is its `ggml_set_abort_callback`.
__attribute__((visibility("default"))) void tabagent_catch_assertions(void * (*set)(void (*)(const char *))) {
    set(on_abort);
}

// Where to note the last words of a process; null for nowhere. Not to be called while another thread may assert.
__attribute__((visibility("default"))) void tabagent_set_crash_file(const char * path) {
    crash_path[0] = 0;
    if (path && std::strlen(path) < sizeof crash_path) std::strcpy(crash_path, path);
}
}

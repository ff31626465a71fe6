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

#include <unwind.h>

#include "system.h"

namespace {

constexpr int RETURNED = 0;
constexpr int THREW = 1;
constexpr int ASSERTED = 2;
constexpr int NO_MEMORY = 3;
constexpr long long MOST_CRASH_BYTES = 64 * 1024;

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

// The assertion without the folders of the machine that built the library.
const char * without_folders(const char * message) {
    const char * end = std::strstr(message, ": ");
    const char * start = message;
    for (const char * at = message; end && at < end; ++at) {
        if (std::strchr(FOLDER_ENDS, *at)) start = at + 1;
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
    loaded_file file{};
    if (!file_of(reinterpret_cast<const void *>(_Unwind_GetIP(context)), file)) {
        return _URC_NO_REASON;
    }
    // The first frames are those of the callback itself.
    if (file.base == facts.own && facts.frames > 0) {
        facts.caught = true;
        return _URC_END_OF_STACK;
    }
    if (file.base != facts.own) {
        ++facts.frames;
        // `libggml-cpu-haswell.so`, `ggml-cpu-haswell.dll` and the like compute on several threads, which wait for each other: none of them may leave.
        const auto begins = [&file](const char * text) { return std::strncmp(file.name, text, std::strlen(text)) == 0; };
        if (begins(BACKEND) && !begins(BASE)) facts.in_backend = true;
    }
    return _URC_NO_REASON;
}

// Whether an exception thrown now reaches `tabagent_call` and leaves no thread waiting.
bool can_leave() {
    loaded_file own{};
    if (depth == 0 || !file_of(reinterpret_cast<const void *>(&can_leave), own)) return false;
    stack_facts facts{own.base, false, false, 0};
    _Unwind_Backtrace(look_at, &facts);
    return facts.caught && !facts.in_backend;
}

// One line on stderr and in the crash file; ggml ends the process afterwards.
void last_words(const char * message) {
    char when[32] = "";
    const std::time_t now = std::time(nullptr);
    struct tm parts{};
    if (utc(now, parts)) std::strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &parts);
    char line[2600];
    const int length = std::snprintf(line, sizeof line, "tabagent: %s process %ld: llama.cpp gives up: %s\n", when, process_id(), message);
    const size_t count = length < 0 ? 0 : (static_cast<size_t>(length) < sizeof line ? static_cast<size_t>(length) : sizeof line - 1);
    say_on_stderr(line, count);
    if (crash_path[0]) note_in(crash_path, line, count, MOST_CRASH_BYTES);
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
TABAGENT_EXPORT int tabagent_call(void (*work)(void *), void * data, char * text, size_t capacity) {
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
TABAGENT_EXPORT void tabagent_catch_assertions(void * (*set)(void (*)(const char *))) {
    set(on_abort);
}

// Where to note the last words of a process; null for nowhere. Not to be called while another thread may assert.
TABAGENT_EXPORT void tabagent_set_crash_file(const char * path) {
    crash_path[0] = 0;
    if (path && std::strlen(path) < sizeof crash_path) std::strcpy(crash_path, path);
}
}

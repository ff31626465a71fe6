// What the shim asks of the operating system.

#pragma once

#include <cstddef>
#include <cstdio>
#include <cstring>

#ifdef _WIN32

#include <windows.h>

#include <fcntl.h>
#include <io.h>
#include <process.h>
#include <share.h>
#include <sys/stat.h>

#define TABAGENT_EXPORT __declspec(dllexport)

// A library of the process.
struct loaded_file {
    const void * base;
    char name[512];
};

inline bool file_of(const void * address, loaded_file & found) {
    HMODULE module = nullptr;
    const DWORD flags = GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT;
    if (!GetModuleHandleExA(flags, static_cast<const char *>(address), &module)) return false;
    found.base = module;
    char path[4096];
    const DWORD length = GetModuleFileNameA(module, path, sizeof path);
    if (length == 0 || length >= sizeof path) return false;
    const char * slash = std::strrchr(path, '\\');
    std::snprintf(found.name, sizeof found.name, "%s", slash ? slash + 1 : path);
    return true;
}

constexpr char FOLDER_ENDS[] = "/\\";
constexpr char BACKEND[] = "ggml-";
constexpr char BASE[] = "ggml-base";

inline long process_id() { return _getpid(); }

inline void say_on_stderr(const char * line, size_t count) {
    const int written = _write(2, line, static_cast<unsigned>(count));
    (void) written;
}

// Appends to the file at a path in UTF-8, which begins anew when it has more bytes than `most`.
inline void note_in(const char * path, const char * line, size_t count, long long most) {
    wchar_t wide[4096];
    if (!MultiByteToWideChar(CP_UTF8, 0, path, -1, wide, 4096)) return;
    struct _stat64 facts{};
    const bool is_long = _wstat64(wide, &facts) == 0 && facts.st_size > most;
    const int flags = _O_WRONLY | _O_CREAT | _O_NOINHERIT | _O_BINARY | (is_long ? _O_TRUNC : _O_APPEND);
    const int file = _wsopen(wide, flags, _SH_DENYNO, _S_IREAD | _S_IWRITE);
    if (file < 0) return;
    const int written = _write(file, line, static_cast<unsigned>(count));
    (void) written;
    _close(file);
}

inline bool utc(const std::time_t & now, struct tm & parts) { return gmtime_s(&parts, &now) == 0; }

#else

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define TABAGENT_EXPORT __attribute__((visibility("default")))

// A library of the process.
struct loaded_file {
    const void * base;
    const char * name;
};

inline bool file_of(const void * address, loaded_file & found) {
    Dl_info info{};
    if (!dladdr(address, &info) || !info.dli_fname) return false;
    const char * slash = std::strrchr(info.dli_fname, '/');
    found = {info.dli_fbase, slash ? slash + 1 : info.dli_fname};
    return true;
}

constexpr char FOLDER_ENDS[] = "/";
constexpr char BACKEND[] = "libggml-";
constexpr char BASE[] = "libggml-base";

inline long process_id() { return static_cast<long>(getpid()); }

inline void say_on_stderr(const char * line, size_t count) {
    const ssize_t written = write(STDERR_FILENO, line, count);
    (void) written;
}

// Appends to the file at a path, which begins anew when it has more bytes than `most`.
inline void note_in(const char * path, const char * line, size_t count, long long most) {
    struct stat facts{};
    const bool is_long = stat(path, &facts) == 0 && facts.st_size > most;
    const int file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | (is_long ? O_TRUNC : O_APPEND), 0600);
    if (file < 0) return;
    const ssize_t written = write(file, line, count);
    (void) written;
    close(file);
}

inline bool utc(const std::time_t & now, struct tm & parts) { return gmtime_r(&now, &parts) != nullptr; }

#endif

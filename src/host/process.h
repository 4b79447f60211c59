// Small things about processes, files and descriptors that the host side shares.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace umbra::host {

/// Owns a file descriptor.
class Fd {
public:
    Fd() = default;
    explicit Fd(int fd) : fd_(fd) {}
    Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    Fd& operator=(Fd&& other) noexcept {
        if (this != &other) {
            reset();
            fd_ = std::exchange(other.fd_, -1);
        }
        return *this;
    }
    Fd(const Fd&) = delete;
    Fd& operator=(const Fd&) = delete;
    ~Fd() { reset(); }
    void reset();
    int get() const { return fd_; }
    int release() { return std::exchange(fd_, -1); }
    explicit operator bool() const { return fd_ >= 0; }

private:
    int fd_ = -1;
};

/// Starts a program with an empty environment but PATH, standard input from /dev/null, standard output and error into
/// `log` (appended), and `keep` (first: descriptor here, second: number there, 3 and up). Every other descriptor is
/// closed.
base::Result<pid_t> spawn(const std::vector<std::string>& arguments, const std::string& log,
                          const std::vector<std::pair<int, int>>& keep);

/// Waits for a child. Exit status, or 128 + signal.
base::Result<int> wait_child(pid_t pid);

struct Output {
    int status = 0;
    std::string text;  ///< standard output and standard error, 64 KiB at most
};
/// Runs a program found in PATH to its end.
base::Result<Output> run_program(const std::vector<std::string>& arguments);

/// The whole of a small file (1 MiB at most), sysfs and procfs included.
base::Result<std::string> read_file(const std::string& path);
/// Replaces the file in one step (temporary file, fsync, rename).
base::Result<void> replace_file(const std::string& path, std::string_view content);
/// Writes to an existing file in one write(2): sysfs.
base::Result<void> poke_file(const std::string& path, std::string_view content);
/// Creates the directory and its parents.
base::Result<void> make_directories(const std::string& path, mode_t mode);
/// Names in a directory, sorted, without "." and ".."; empty when there is none.
std::vector<std::string> list_directory(const std::string& path);

/// "key=value" lines; a value may hold anything but a line feed.
using Fields = std::vector<std::pair<std::string, std::string>>;
Fields parse_fields(std::string_view text);
std::string format_fields(const Fields& fields);
std::string field(const Fields& fields, std::string_view key);

}  // namespace umbra::host

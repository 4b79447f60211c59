#include <fmt/core.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <list>

#include "simulation/harness.h"

namespace umbra::simulation {

namespace {

using Clock = std::chrono::steady_clock;

/// One seed in a process of its own. Its report comes through one pipe, what it prints through another.
struct Child {
    uint64_t seed = 0;
    bool repeat = false;
    pid_t pid = -1;
    int report_fd = -1;
    int stderr_fd = -1;
    std::string report;
    std::string errors;
    Clock::time_point deadline;
    bool timed_out = false;
};

void write_all(int fd, const std::string& text) {
    for (size_t done = 0; done < text.size();) {
        const ssize_t count = write(fd, text.data() + done, text.size() - done);
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) return;
        done += static_cast<size_t>(count);
    }
}

/// Lines: "pass HASH OPERATIONS", "mark NAME COUNT" …, or "fail CAUSE".
std::string encode(const Outcome& outcome) {
    std::string text = fmt::format("pass {:016x} {}\n", outcome.trace_hash, outcome.operations);
    for (const auto& [name, count] : outcome.marks) text += fmt::format("mark {} {}\n", name, count);
    return text;
}

Child start(const std::function<Factory()>& factory, Options options, bool repeat, unsigned timeout_s) {
    Child child;
    child.seed = options.seed;
    child.repeat = repeat;
    child.deadline = Clock::now() + std::chrono::seconds(timeout_s);
    int report[2];
    int errors[2];
    UMBRA_CHECK(pipe(report) == 0 && pipe(errors) == 0);
    std::fflush(nullptr);
    child.pid = fork();
    UMBRA_CHECK(child.pid >= 0);
    if (child.pid == 0) {
        close(report[0]);
        close(errors[0]);
        if (!options.verbose) dup2(errors[1], STDERR_FILENO);
        // The second run has other addresses: what depends on them shows.
        std::vector<std::unique_ptr<char[]>> clutter;
        if (repeat) {
            for (size_t size = 16; size <= 4096; size += 16) {
                for (int i = 0; i < 16; ++i) clutter.push_back(std::make_unique<char[]>(size));
            }
        }
        const Outcome outcome = run_seed(factory(), options, [&](const std::string& cause) {
            write_all(report[1], "fail " + cause + "\n");
            std::fflush(nullptr);
            _exit(1);
        });
        write_all(report[1], encode(outcome));
        std::fflush(nullptr);
        _exit(0);
    }
    close(report[1]);
    close(errors[1]);
    child.report_fd = report[0];
    child.stderr_fd = errors[0];
    return child;
}

/// Takes what there is; true once the descriptor is at its end.
bool drain(int& fd, std::string& into) {
    constexpr size_t kMaxKept = 1 << 20;
    char buffer[16384];
    const ssize_t count = read(fd, buffer, sizeof buffer);
    if (count < 0 && errno == EINTR) return false;
    if (count > 0) {
        if (into.size() < kMaxKept) into.append(buffer, static_cast<size_t>(count));
        return false;
    }
    close(fd);
    fd = -1;
    return true;
}

/// Waits for something of any child; kills those that are overdue. The first that has ended is returned.
std::list<Child>::iterator wait_for_one(std::list<Child>& children) {
    while (true) {
        std::vector<pollfd> polled;
        for (const Child& child : children) {
            if (child.report_fd >= 0) polled.push_back({child.report_fd, POLLIN, 0});
            if (child.stderr_fd >= 0) polled.push_back({child.stderr_fd, POLLIN, 0});
        }
        poll(polled.data(), polled.size(), 200);
        const auto readable = [&](int fd) {
            for (const pollfd& entry : polled) {
                if (entry.fd == fd && entry.revents != 0) return true;
            }
            return false;
        };
        for (auto child = children.begin(); child != children.end(); ++child) {
            if (child->report_fd >= 0 && readable(child->report_fd)) drain(child->report_fd, child->report);
            if (child->stderr_fd >= 0 && readable(child->stderr_fd)) drain(child->stderr_fd, child->errors);
            if (!child->timed_out && Clock::now() > child->deadline) {
                child->timed_out = true;
                kill(child->pid, SIGKILL);
            }
            if (child->report_fd < 0 && child->stderr_fd < 0) return child;
        }
    }
}

Outcome collect(Child& child) {
    int status = 0;
    while (waitpid(child.pid, &status, 0) < 0 && errno == EINTR) {
    }
    Outcome outcome;
    if (child.timed_out) {
        outcome.cause = "ran out of time (a loop without virtual time?)";
        return outcome;
    }
    for (size_t at = 0; at < child.report.size();) {
        const size_t end = std::min(child.report.find('\n', at), child.report.size());
        const std::string line = child.report.substr(at, end - at);
        at = end + 1;
        if (line.starts_with("fail ")) {
            outcome.cause = line.substr(5);
        } else if (line.starts_with("pass ")) {
            outcome.passed = true;
            outcome.trace_hash = std::strtoull(line.c_str() + 5, nullptr, 16);
            outcome.operations = std::strtoull(line.c_str() + 22, nullptr, 10);
        } else if (line.starts_with("mark ")) {
            const size_t space = line.rfind(' ');
            outcome.marks[line.substr(5, space - 5)] += std::strtoull(line.c_str() + space + 1, nullptr, 10);
        }
    }
    if (!outcome.passed && outcome.cause.empty()) {
        // The lines that say most: a CHECK, or the sanitizer's first.
        std::string said;
        for (size_t at = 0; at < child.errors.size() && said.size() < 600;) {
            const size_t end = std::min(child.errors.find('\n', at), child.errors.size());
            const std::string line = child.errors.substr(at, end - at);
            at = end + 1;
            if (line.find("CHECK failed") != std::string::npos || line.find("ERROR") != std::string::npos ||
                line.find("runtime error") != std::string::npos || line.find("Assertion") != std::string::npos) {
                said += line + "; ";
            }
        }
        if (said.empty()) said = child.errors.substr(0, 300);
        outcome.cause = WIFSIGNALED(status) ? fmt::format("died of signal {} ({}): {}", WTERMSIG(status),
                                                          strsignal(WTERMSIG(status)), said)
                                            : fmt::format("exited with {}: {}", WEXITSTATUS(status), said);
    } else if (outcome.passed && !(WIFEXITED(status) && WEXITSTATUS(status) == 0)) {
        outcome.passed = false;
        outcome.cause = "passed, and died at its end: " + child.errors.substr(0, 300);
    }
    return outcome;
}

}  // namespace

Outcome run_seed_isolated(const std::function<Factory()>& factory, const Options& options, unsigned timeout_s) {
    std::list<Child> children;
    children.push_back(start(factory, options, false, timeout_s));
    const auto child = wait_for_one(children);
    return collect(*child);
}

SeedsResult run_seeds(const std::function<Factory()>& factory, uint64_t first, uint64_t count, unsigned jobs,
                      const Options& options, std::FILE* out) {
    constexpr unsigned kTimeoutSeconds = 300;
    constexpr uint64_t kRepeatEvery = 20;
    SeedsResult result;
    std::list<Child> children;
    std::map<uint64_t, uint64_t> hashes;  // of seeds that run twice: the run that ended first
    std::map<uint64_t, bool> failed_once;
    struct Job {
        uint64_t seed;
        bool repeat;
    };
    std::list<Job> jobs_left;
    uint64_t next = first;
    const auto refill = [&] {
        while (children.size() < jobs && (next < first + count || !jobs_left.empty())) {
            if (jobs_left.empty()) {
                jobs_left.push_back({next, false});
                if (next % kRepeatEvery == 0) jobs_left.push_back({next, true});
                ++next;
            }
            Options one = options;
            one.seed = jobs_left.front().seed;
            children.push_back(start(factory, one, jobs_left.front().repeat, kTimeoutSeconds));
            jobs_left.pop_front();
        }
    };
    for (refill(); !children.empty(); refill()) {
        const auto child = wait_for_one(children);
        Outcome outcome = collect(*child);
        const uint64_t seed = child->seed;
        children.erase(child);
        const bool twice = seed % kRepeatEvery == 0;
        const bool second = twice && (hashes.contains(seed) || failed_once.contains(seed));
        if (second && outcome.passed && hashes.contains(seed) && hashes[seed] != outcome.trace_hash) {
            outcome.passed = false;
            outcome.cause = fmt::format("is not deterministic: two runs gave the hashes {:016x} and {:016x}",
                                        hashes[seed], outcome.trace_hash);
        }
        if (!outcome.passed) {
            if (failed_once.contains(seed)) continue;
            failed_once[seed] = true;
            ++result.failed;
            fmt::print(out, "seed {} failed: {}\n", seed, outcome.cause);
            std::fflush(out);
            if (second) --result.passed;
            continue;
        }
        if (failed_once.contains(seed)) continue;
        if (!second) {
            ++result.passed;
            for (const auto& [name, times] : outcome.marks) result.marks[name] += times;
        }
        if (twice) hashes[seed] = outcome.trace_hash;
    }
    return result;
}

}  // namespace umbra::simulation

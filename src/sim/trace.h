// What one run did, as a hash: two runs of one seed must agree bit for bit. Optionally also as text.
#pragma once

#include <cstdint>
#include <cstdio>
#include <initializer_list>
#include <map>
#include <string>
#include <string_view>

namespace umbra::sim {

class Trace {
public:
    /// Mixes one event into the hash. `what` must be a literal or outlive the call; order matters.
    void mix(std::string_view what, std::initializer_list<uint64_t> values) {
        for (const char c : what) step(static_cast<unsigned char>(c));
        for (const uint64_t value : values) step(value);
        ++events_;
    }
    void mix(uint64_t value) {
        step(value);
        ++events_;
    }
    uint64_t hash() const { return hash_; }
    uint64_t events() const { return events_; }

    /// Where lines of say() go; nullptr: nowhere.
    void print_to(std::FILE* file) { file_ = file; }
    bool printing() const { return file_ != nullptr; }
    void say(const std::string& line) {
        if (file_ != nullptr) std::fprintf(file_, "%s\n", line.c_str());
    }

    /// Coverage: counts that `name` was reached. Not part of the hash.
    void mark(const std::string& name, uint64_t times = 1) { marks_[name] += times; }
    const std::map<std::string, uint64_t>& marks() const { return marks_; }

private:
    void step(uint64_t value) {
        hash_ ^= value + 0x9e3779b97f4a7c15u + (hash_ << 6) + (hash_ >> 2);
        hash_ *= 0xff51afd7ed558ccdu;
        hash_ ^= hash_ >> 32;
    }
    uint64_t hash_ = 0x6a09e667f3bcc908u;
    uint64_t events_ = 0;
    std::FILE* file_ = nullptr;
    std::map<std::string, uint64_t> marks_;
};

}  // namespace umbra::sim

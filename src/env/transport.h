// Byte streams between hosts: TCP in production, a simulated network under test.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "base/bytes.h"
#include "base/result.h"
#include "env/task.h"

namespace umbra::env {

/// One connection. At most one read and one write may be in flight. close() makes both fail with kUnavailable.
class Stream {
public:
    virtual ~Stream() = default;
    /// At least one byte into `into`, or 0 at the end of the stream.
    virtual Task<base::Result<size_t>> read_some(base::MutableBytes into) = 0;
    /// All of it, in order; the spans must stay valid until it returns.
    virtual Task<base::Result<void>> write_all(std::span<const base::Bytes> from) = 0;
    virtual void close() = 0;
    /// "ip:port" of the other side, and of ours.
    virtual std::string peer() const = 0;
    virtual std::string local() const = 0;
};

class Listener {
public:
    virtual ~Listener() = default;
    /// The next connection; kUnavailable after close().
    virtual Task<base::Result<std::unique_ptr<Stream>>> accept() = 0;
    virtual void close() = 0;
    /// "ip:port" really bound (port 0 was replaced).
    virtual std::string local() const = 0;
};

class Transport {
public:
    virtual ~Transport() = default;
    /// `address` is "ip:port" or "[ip6]:port"; port 0 picks a free one.
    virtual base::Result<std::unique_ptr<Listener>> listen(const std::string& address) = 0;
    virtual Task<base::Result<std::unique_ptr<Stream>>> connect(std::string address) = 0;
};

}  // namespace umbra::env

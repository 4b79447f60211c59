// Errors as values. See docs/decisions/0001-errors.md.
#pragma once

#include <cstdint>
#include <expected>
#include <source_location>
#include <string>
#include <string_view>
#include <utility>

namespace umbra::base {

/// What a caller can do about a failure. A new code exists only where some caller reacts differently to it.
enum class Code : uint8_t {
    kInvalidArgument,   ///< the request is wrong whatever the state
    kNotFound,          ///< the named object does not exist
    kAlreadyExists,     ///< the name or id is taken
    kBusy,              ///< another operation or user holds the object: retry later
    kBadState,          ///< the object is not in a state that allows the call
    kPermissionDenied,  ///< the caller may not
    kUnsupported,       ///< valid, but not offered here
    kNoSpace,           ///< not enough free space
    kNoDrive,           ///< not enough usable drives
    kMediaError,        ///< data could not be read with a right checksum, and no redundancy was left
    kDeviceFailed,      ///< a drive or LUN is gone or failed
    kCorrupt,           ///< stored or received bytes do not decode
    kVersion,           ///< stored or received bytes are of a version that this build does not know
    kWriteProtected,    ///< write to a read-only volume
    kTimedOut,
    kCancelled,
    kUnavailable,       ///< the peer cannot be reached
    kMiscompare,        ///< COMPARE AND WRITE found other data
    kUnauthenticated,   ///< credentials are missing or wrong
    kIo,                ///< the operating system refused; context has errno's text
    kInternal,          ///< a defect of ours that was contained
};

std::string_view to_string(Code code);

struct Error {
    Code code = Code::kInternal;
    std::string message;  ///< what, where and what to do; a sentence without a full stop
    std::source_location location = std::source_location::current();

    /// "no_space: pool default has 3 MiB free, 8 MiB needed"
    std::string text() const;
};

template <class T = void>
using Result = std::expected<T, Error>;

/// `return fail(Code::kNotFound, "no LUN named x");`
[[nodiscard]] inline std::unexpected<Error> fail(Code code, std::string message,
                                                 std::source_location location = std::source_location::current()) {
    return std::unexpected(Error{code, std::move(message), location});
}

/// Result of a failed system call: `what` and the text of `errnum`. ENOSPC, EACCES, ENOENT … get their own codes.
[[nodiscard]] std::unexpected<Error> fail_errno(int errnum, std::string what,
                                                std::source_location location = std::source_location::current());

/// The same error with "context: " before its message.
[[nodiscard]] inline std::unexpected<Error> with_context(Error error, std::string_view context) {
    error.message = std::string(context) + ": " + error.message;
    return std::unexpected(std::move(error));
}

}  // namespace umbra::base

#define UMBRA_CONCAT_(a, b) a##b
#define UMBRA_CONCAT(a, b) UMBRA_CONCAT_(a, b)

// In a function that returns Result: propagate an error.
#define UMBRA_TRY(...)                                                       \
    do {                                                                     \
        auto&& umbra_r_ = (__VA_ARGS__);                                     \
        if (!umbra_r_) return std::unexpected(std::move(umbra_r_).error());  \
    } while (0)
#define UMBRA_ASSIGN_(tmp, decl, ...)                             \
    auto tmp = (__VA_ARGS__);                                     \
    if (!tmp) return std::unexpected(std::move(tmp).error());     \
    decl = std::move(*tmp)
// UMBRA_ASSIGN(auto x, f()): x is f()'s value, or its error is returned. A statement of its own, never under an if.
#define UMBRA_ASSIGN(decl, ...) UMBRA_ASSIGN_(UMBRA_CONCAT(umbra_t_, __LINE__), decl, __VA_ARGS__)

// The same in a coroutine that returns Task<Result<…>>: UMBRA_CO_TRY(co_await f());
#define UMBRA_CO_TRY(...)                                                       \
    do {                                                                        \
        auto umbra_r_ = (__VA_ARGS__);                                          \
        if (!umbra_r_) co_return std::unexpected(std::move(umbra_r_).error());  \
    } while (0)
#define UMBRA_CO_ASSIGN_(tmp, decl, ...)                             \
    auto tmp = (__VA_ARGS__);                                        \
    if (!tmp) co_return std::unexpected(std::move(tmp).error());     \
    decl = std::move(*tmp)
#define UMBRA_CO_ASSIGN(decl, ...) UMBRA_CO_ASSIGN_(UMBRA_CONCAT(umbra_t_, __LINE__), decl, __VA_ARGS__)

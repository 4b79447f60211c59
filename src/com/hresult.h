// From our errors to HRESULTs, and the frame of every COM method.
#pragma once

#include <concepts>
#include <exception>
#include <functional>
#include <new>
#include <optional>
#include <string>
#include <type_traits>

#include "base/result.h"
#include "compat/com.h"

namespace umbra::com {

/// The HRESULT by which VSS's interfaces say `code`. Always a failure.
HRESULT to_vss_hresult(base::Code code);

/// An error, or an HRESULT that has to come out as it is. Implicit: whatever returns base::Result may be propagated by
/// UMBRA_TRY out of a function that returns com::Result.
struct Failure {
    Failure(base::Error from) : error(std::move(from)) {}
    Failure(HRESULT code, std::string message, std::source_location location = std::source_location::current())
        : error{base::Code::kInternal, std::move(message), location}, hresult(code) {}

    base::Error error;
    std::optional<HRESULT> hresult;
};

template <class T = void>
using Result = std::expected<T, Failure>;

[[nodiscard]] inline std::unexpected<Failure> fail(HRESULT code, std::string message = {},
                                                   std::source_location location = std::source_location::current()) {
    return std::unexpected(Failure(code, std::move(message), location));
}

/// An out-parameter that may be NULL: guard(body, optional(pbRepair)).
template <class T>
struct Optional {
    T* pointer;
};
template <class T>
Optional<T> optional(T* pointer) {
    return {pointer};
}

namespace internal {
template <class T>
bool usable(T* out) {
    return out != nullptr;
}
template <class T>
bool usable(Optional<T>) {
    return true;
}
template <class T>
void clear(T* out) {
    *out = T{};
}
template <class T>
void clear(Optional<T> out) {
    if (out.pointer != nullptr) *out.pointer = T{};
}
template <class Out>
void clear_usable(Out out) {
    if (usable(out)) clear(out);
}
inline HRESULT hresult_of(const Failure& failure, HRESULT (*map)(base::Code)) {
    return failure.hresult ? *failure.hresult : map(failure.error.code);
}
inline HRESULT hresult_of(const base::Error& error, HRESULT (*map)(base::Code)) {
    return map(error.code);
}
}  // namespace internal

/// The frame of a COM method. Zeroes the out-parameters (a mandatory one that is NULL: E_INVALIDARG), runs `body`, and
/// turns what comes out into an HRESULT: an HRESULT stays, an error goes through `map`, std::bad_alloc is
/// E_OUTOFMEMORY, any other exception is what `map` makes of kInternal. After a failure the out-parameters are zero:
/// the body writes them last, when nothing can fail any more, so that nothing they point at is lost.
/// `failed` is told of every failure, with its text.
template <class Body, class... Outs>
HRESULT guard_with(HRESULT (*map)(base::Code), const std::function<void(HRESULT, const std::string&)>& failed,
                   Body&& body, Outs... outs) {
    HRESULT result = S_OK;
    std::string text;
    if (!(internal::usable(outs) && ...)) {
        (internal::clear_usable(outs), ...);
        if (failed) failed(E_INVALIDARG, "an out-parameter is NULL");
        return E_INVALIDARG;
    }
    (internal::clear(outs), ...);
    try {
        using Returned = std::invoke_result_t<Body>;
        if constexpr (std::is_same_v<Returned, HRESULT>) {
            result = body();
        } else {
            auto outcome = body();
            if (outcome.has_value()) {
                if constexpr (!std::is_void_v<typename Returned::value_type>) result = *outcome;
            } else {
                result = internal::hresult_of(outcome.error(), map);
                if constexpr (std::is_same_v<typename Returned::error_type, Failure>) {
                    text = outcome.error().error.message;
                } else {
                    text = outcome.error().message;
                }
            }
        }
    } catch (const std::bad_alloc&) {
        result = E_OUTOFMEMORY;
    } catch (const std::exception& e) {
        result = map(base::Code::kInternal);
        text = e.what();
    } catch (...) {
        result = map(base::Code::kInternal);
    }
    if (FAILED(result)) {
        (internal::clear(outs), ...);
        if (failed) failed(result, text);
    }
    return result;
}

/// The same with VSS's codes. `return com::guard([&]() -> com::Result<> { … return {}; }, ppAsync);`
/// A body that returns Result<HRESULT> chooses among success codes.
template <class Body, class... Outs>
HRESULT guard(Body&& body, Outs... outs) {
    return guard_with(&to_vss_hresult, {}, std::forward<Body>(body), outs...);
}

}  // namespace umbra::com

#include "host/iscsi_session.h"

#include <poll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>
#include <functional>
#include <random>

#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>

namespace umbra::host {

using base::Bytes;
using base::Code;
using base::fail;
using base::Result;

namespace {

constexpr int kUnitAttentionRetries = 16;
constexpr int kAscNoLogicalUnit = 0x25;
constexpr size_t kPageC0Signature = 4;
constexpr size_t kPageC0NameLength = 37;

struct TaskDeleter {
    void operator()(scsi_task* task) const { scsi_free_scsi_task(task); }
};
using TaskPtr = std::unique_ptr<scsi_task, TaskDeleter>;

// Repeats while the LUN has unit attentions to tell: after a login there is always at least one.
Result<TaskPtr> run(iscsi_context* context, const char* what, const std::function<scsi_task*()>& issue,
                    const std::atomic<bool>* stop = nullptr) {
    for (int attempt = 0;; ++attempt) {
        if (stop != nullptr && *stop) return fail(Code::kCancelled, what);
        TaskPtr task(issue());
        if (!task) return fail(Code::kUnavailable, std::string(what) + ": " + iscsi_get_error(context));
        if (task->status == SCSI_STATUS_GOOD) return task;
        const bool attention =
            task->status == SCSI_STATUS_CHECK_CONDITION && task->sense.key == SCSI_SENSE_UNIT_ATTENTION;
        if (attention && attempt < kUnitAttentionRetries) continue;
        const bool absent =
            task->status == SCSI_STATUS_CHECK_CONDITION && task->sense.key == SCSI_SENSE_ILLEGAL_REQUEST;
        const bool no_unit = absent && task->sense.ascq >> 8 == kAscNoLogicalUnit;
        return fail(no_unit  ? Code::kNotFound
                    : absent ? Code::kUnsupported
                             : Code::kIo,
                    std::string(what) + ": " + iscsi_get_error(context));
    }
}

std::vector<std::byte> data_of(const scsi_task& task) {
    const auto* data = reinterpret_cast<const std::byte*>(task.datain.data);
    return data == nullptr ? std::vector<std::byte>{}
                           : std::vector<std::byte>(data, data + static_cast<size_t>(std::max(task.datain.size, 0)));
}

std::string trimmed(Bytes bytes) {
    std::string text;
    for (const std::byte b : bytes) {
        const auto c = std::to_integer<unsigned char>(b);
        text += c >= 0x20 && c < 0x7f ? static_cast<char>(c) : ' ';
    }
    while (!text.empty() && text.back() == ' ') text.pop_back();
    return text;
}

Result<iscsi_context*> make_context(const std::string& initiator, int timeout_seconds, uint64_t isid) {
    iscsi_context* context = iscsi_create_context(initiator.c_str());
    if (context == nullptr) return fail(Code::kInternal, "libiscsi has no memory for a context");
    iscsi_set_isid_random(context, static_cast<uint32_t>(isid >> 16), static_cast<uint32_t>(isid & 0xffff));
    iscsi_set_noautoreconnect(context, 1);
    iscsi_set_timeout(context, timeout_seconds);
    iscsi_set_header_digest(context, ISCSI_HEADER_DIGEST_NONE_CRC32C);
    return context;
}

void on_waited(iscsi_context*, int status, void*, void* wait) {
    static_cast<IscsiWait*>(wait)->status = status;
    static_cast<IscsiWait*>(wait)->done = true;
}

using Instant = std::chrono::steady_clock::time_point;

// libiscsi's own waiting for a connection ends when the kernel gives up, which takes minutes.
Result<void> wait_for(iscsi_context* context, IscsiWait& wait, Instant deadline, const std::atomic<bool>* stop) {
    constexpr std::chrono::milliseconds kLook{200};
    while (!wait.done) {
        const auto left =
            std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
        if (left.count() <= 0) return fail(Code::kUnavailable, "no answer in time");
        if (stop != nullptr && *stop) return fail(Code::kCancelled, "stopped");
        pollfd entry = {iscsi_get_fd(context), static_cast<short>(iscsi_which_events(context)), 0};
        const int ready = ::poll(&entry, 1, static_cast<int>(std::min(left, kLook).count()) + 1);
        if (ready < 0 && errno != EINTR) return base::fail_errno(errno, "poll");
        if (iscsi_service(context, ready > 0 ? entry.revents : 0) < 0) {
            return fail(Code::kUnavailable, iscsi_get_error(context));
        }
    }
    if (wait.status != SCSI_STATUS_GOOD) return fail(Code::kUnavailable, iscsi_get_error(context));
    return {};
}

Result<void> connect_and_login(iscsi_context* context, const std::string& portal, int timeout_seconds, IscsiWait& wait,
                               const std::atomic<bool>* stop) {
    const Instant deadline = std::chrono::steady_clock::now() + std::chrono::seconds(timeout_seconds);
    wait = {};
    auto done = iscsi_connect_async(context, portal.c_str(), on_waited, &wait) == 0
                    ? wait_for(context, wait, deadline, stop)
                    : fail(Code::kUnavailable, iscsi_get_error(context));
    if (!done) return fail(done.error().code, "portal " + portal + ": " + done.error().message);
    wait = {};
    done = iscsi_login_async(context, on_waited, &wait) == 0 ? wait_for(context, wait, deadline, stop)
                                                             : fail(Code::kUnavailable, iscsi_get_error(context));
    if (done) return {};
    // Status classes and details 0202 (not authorised for this target) and 0203 (no such target), RFC 7143 11.13.5. The
    // library keeps them in the text only.
    const std::string text = iscsi_get_error(context);
    const bool absent = text.find("(514)") != std::string::npos || text.find("(515)") != std::string::npos;
    return fail(absent ? Code::kNotFound : done.error().code, "login at " + portal + ": " + done.error().message);
}

}  // namespace

std::optional<ArrayState> parse_page_c0(Bytes page) {
    constexpr std::string_view kSignature = "UMBRALUN";
    if (page.size() <= kPageC0NameLength || base::as_text(page.subspan(kPageC0Signature, 8)) != kSignature ||
        std::to_integer<unsigned>(page[kPageC0Signature + 8]) < 2) {
        return std::nullopt;
    }
    const size_t at = kPageC0NameLength + 1 + std::to_integer<size_t>(page[kPageC0NameLength]);
    if (page.size() < at + 24) return std::nullopt;
    ArrayState out;
    std::copy_n(page.begin() + static_cast<ptrdiff_t>(at), out.run.bytes.size(), out.run.bytes.begin());
    out.content = base::load_be<uint64_t>(page.data() + at + 16);
    return out;
}

std::string IscsiPath::url() const {
    return "iscsi://" + portal + "/" + target + "/" + std::to_string(lun);
}

Result<IscsiPath> IscsiPath::parse(std::string_view url) {
    constexpr std::string_view kScheme = "iscsi://";
    if (!url.starts_with(kScheme)) return fail(Code::kInvalidArgument, "not an iscsi:// address: " + std::string(url));
    const std::string_view rest = url.substr(kScheme.size());
    const size_t first = rest.find('/');
    const size_t last = rest.rfind('/');
    IscsiPath out;
    if (first == std::string_view::npos || first == 0 || last <= first + 1) {
        return fail(Code::kInvalidArgument, "wants iscsi://PORTAL/TARGET/LUN: " + std::string(url));
    }
    out.portal = rest.substr(0, first);
    out.target = rest.substr(first + 1, last - first - 1);
    const std::string_view number = rest.substr(last + 1);
    const auto parsed = std::from_chars(number.data(), number.data() + number.size(), out.lun);
    if (number.empty() || parsed.ec != std::errc{} || parsed.ptr != number.data() + number.size() || out.lun > 16383) {
        return fail(Code::kInvalidArgument, "not a LUN number: " + std::string(url));
    }
    return out;
}

Result<LunIdentity> make_identity(Bytes inquiry, Bytes page80, Bytes page83) {
    if (inquiry.size() < 36) return fail(Code::kCorrupt, "INQUIRY data of fewer than 36 bytes");
    LunIdentity out;
    out.device_type = static_cast<uint8_t>(std::to_integer<unsigned>(inquiry[0]) & 0x1f);
    out.device_type_modifier = static_cast<uint8_t>(std::to_integer<unsigned>(inquiry[1]) & 0x7f);
    out.command_queueing = (std::to_integer<unsigned>(inquiry[7]) & 0x02) != 0;
    out.vendor_id = trimmed(inquiry.subspan(8, 8));
    out.product_id = trimmed(inquiry.subspan(16, 16));
    out.product_revision = trimmed(inquiry.subspan(32, 4));
    if (page80.size() >= 4) {
        const size_t length = std::min<size_t>(base::load_be<uint16_t>(page80.data() + 2), page80.size() - 4);
        out.serial = trimmed(page80.subspan(4, length));
        const size_t start = out.serial.find_first_not_of(' ');
        out.serial = start == std::string::npos ? std::string{} : out.serial.substr(start);
    }
    UMBRA_ASSIGN(out.designators, parse_page83(page83));
    return out;
}

Result<std::unique_ptr<IscsiSession>> IscsiSession::login(const std::string& portal, const std::string& target,
                                                          const std::string& initiator, int timeout_seconds,
                                                          uint64_t isid, const std::atomic<bool>* stop) {
    UMBRA_ASSIGN(iscsi_context * context, make_context(initiator, timeout_seconds, isid != 0 ? isid : random_isid()));
    std::unique_ptr<IscsiSession> session(new IscsiSession(context, stop));
    if (iscsi_set_targetname(context, target.c_str()) != 0 ||
        iscsi_set_session_type(context, ISCSI_SESSION_NORMAL) != 0) {
        return fail(Code::kInvalidArgument, std::string("target ") + target + ": " + iscsi_get_error(context));
    }
    const auto done = connect_and_login(context, portal, timeout_seconds, session->wait_, stop);
    if (!done) {
        session->abandon();
        return fail(done.error().code, "target " + target + ": " + done.error().message);
    }
    return session;
}

uint64_t IscsiSession::random_isid() {
    std::random_device random;
    return (uint64_t{random()} << 16) | (random() & 0xffff);
}

bool IscsiSession::connected() const {
    return iscsi_get_fd(context_) >= 0 && iscsi_is_logged_in(context_) != 0;
}

IscsiSession::~IscsiSession() {
    if (!abandoned_ && connected()) {
        iscsi_set_timeout(context_, 2);
        iscsi_logout_sync(context_);
    }
    // First the socket: what is still queued refers to memory of commands that nobody waits for any more.
    iscsi_disconnect(context_);
    iscsi_destroy_context(context_);
}

Result<std::vector<uint32_t>> IscsiSession::report_luns() {
    uint32_t size = 4096;
    for (;;) {
        UMBRA_ASSIGN(TaskPtr task, run(context_, "REPORT LUNS",
                                       [&] { return iscsi_reportluns_sync(context_, 0, static_cast<int>(size)); }));
        const std::vector<std::byte> data = data_of(*task);
        if (data.size() < 8) return fail(Code::kCorrupt, "REPORT LUNS: too short an answer");
        const uint32_t length = base::load_be<uint32_t>(data.data());
        if (length > 16384u * 8) return fail(Code::kCorrupt, "REPORT LUNS: too long a list");
        if (length + 8 > size) {
            size = length + 8;
            continue;
        }
        std::vector<uint32_t> luns;
        for (size_t at = 8; at + 8 <= data.size() && at < length + 8; at += 8) {
            const unsigned method = std::to_integer<unsigned>(data[at]) >> 6;
            if (method > 1) continue;  // neither peripheral nor flat addressing: a well-known LUN
            luns.push_back(base::load_be<uint16_t>(data.data() + at) & 0x3fffu);
        }
        return luns;
    }
}

Result<LunFacts> IscsiSession::read_facts(uint32_t number) {
    const int lun = static_cast<int>(number);
    LunFacts out;
    UMBRA_ASSIGN(TaskPtr inquiry,
                 run(context_, "INQUIRY", [&] { return iscsi_inquiry_sync(context_, lun, 0, 0, 255); }, stop_));
    out.inquiry = data_of(*inquiry);
    if (out.inquiry.size() < 36) return fail(Code::kCorrupt, "INQUIRY: too short an answer");
    if (std::to_integer<unsigned>(out.inquiry[0]) >> 5 != 0) {
        return fail(Code::kNotFound, "no logical unit is connected at LUN " + std::to_string(number));
    }
    if ((std::to_integer<unsigned>(out.inquiry[0]) & 0x1f) != 0) {
        return fail(Code::kUnsupported, "LUN " + std::to_string(number) + " is not a disk");
    }
    const auto page = [&](int code) -> Result<std::vector<std::byte>> {
        for (int size = 255;;) {
            UMBRA_ASSIGN(TaskPtr task, run(
                                           context_, "INQUIRY of a VPD page",
                                           [&] { return iscsi_inquiry_sync(context_, lun, 1, code, size); }, stop_));
            std::vector<std::byte> data = data_of(*task);
            if (data.size() < 4) return fail(Code::kCorrupt, "VPD page: too short an answer");
            const size_t length = base::load_be<uint16_t>(data.data() + 2) + 4u;
            if (length > 32768) return fail(Code::kCorrupt, "VPD page: too long");
            if (length <= data.size()) {
                data.resize(length);
                return data;
            }
            if (static_cast<size_t>(size) >= length) return fail(Code::kCorrupt, "VPD page: shorter than it says");
            size = static_cast<int>(length);
        }
    };
    UMBRA_ASSIGN(out.page83, page(0x83));
    const auto page80 = page(0x80);
    UMBRA_ASSIGN(out.identity, make_identity(out.inquiry, page80 ? Bytes(*page80) : Bytes(), out.page83));
    if (out.identity.key().empty()) return fail(Code::kUnsupported, "the LUN has no identifier in VPD page 83");

    UMBRA_ASSIGN(TaskPtr capacity,
                 run(context_, "READ CAPACITY(16)", [&] { return iscsi_readcapacity16_sync(context_, lun); }, stop_));
    const std::vector<std::byte> cap = data_of(*capacity);
    if (cap.size() < 16) return fail(Code::kCorrupt, "READ CAPACITY(16): too short an answer");
    out.blocks = base::load_be<uint64_t>(cap.data()) + 1;
    out.block_bytes = base::load_be<uint32_t>(cap.data() + 8);
    if (out.block_bytes != 512 && out.block_bytes != 4096) {
        return fail(Code::kUnsupported, "logical blocks of " + std::to_string(out.block_bytes) + " bytes");
    }
    if (out.blocks == 0 || out.blocks > (uint64_t{1} << 62) / out.block_bytes) {
        return fail(Code::kCorrupt, "READ CAPACITY(16): impossible size");
    }
    // Only its absence is an answer: taken for absent, a failure would hide that the content was replaced.
    const auto own = page(0xc0);
    if (own) {
        out.state = parse_page_c0(*own);
    } else if (own.error().code != Code::kUnsupported) {
        return std::unexpected(own.error());
    }
    const bool provisioning = (std::to_integer<unsigned>(cap[14]) & 0x80) != 0;
    const bool zeroes = (std::to_integer<unsigned>(cap[14]) & 0x40) != 0;
    // The limits are optional pages: without them nothing is assumed.
    if (const auto limits = page(0xb0); limits && limits->size() >= 44) {
        out.max_transfer_blocks = base::load_be<uint32_t>(limits->data() + 8);
        const uint32_t unmap = base::load_be<uint32_t>(limits->data() + 20);
        out.max_unmap_blocks = unmap == 0xffffffffu ? 0 : unmap;
        out.max_write_same_blocks = base::load_be<uint64_t>(limits->data() + 36);
    }
    if (provisioning) {
        if (const auto thin = page(0xb2); thin && thin->size() >= 8) {
            const unsigned bits = std::to_integer<unsigned>((*thin)[5]);
            out.unmap = (bits & 0x80) != 0 && zeroes;
            out.write_same_unmap = (bits & 0x40) != 0;
        }
    }
    const auto mode = run(context_, "MODE SENSE(6)", [&] {
        return iscsi_modesense6_sync(context_, lun, 0, SCSI_MODESENSE_PC_CURRENT, SCSI_MODEPAGE_RETURN_ALL_PAGES, 0,
                                     255);
    });
    if (mode) {
        const std::vector<std::byte> data = data_of(**mode);
        if (data.size() >= 4) out.write_protected = (std::to_integer<unsigned>(data[2]) & 0x80) != 0;
    }
    return out;
}

Result<std::vector<std::string>> discover_targets(const std::string& portal, const std::string& initiator,
                                                  int timeout_seconds) {
    UMBRA_ASSIGN(iscsi_context * context, make_context(initiator, timeout_seconds, IscsiSession::random_isid()));
    IscsiWait wait;
    std::unique_ptr<iscsi_context, int (*)(iscsi_context*)> owner(context, iscsi_destroy_context);
    iscsi_set_session_type(context, ISCSI_SESSION_DISCOVERY);
    UMBRA_TRY(connect_and_login(context, portal, timeout_seconds, wait, nullptr));
    iscsi_discovery_address* found = iscsi_discovery_sync(context);
    std::vector<std::string> targets;
    for (const iscsi_discovery_address* at = found; at != nullptr; at = at->next) targets.emplace_back(at->target_name);
    if (found != nullptr) iscsi_free_discovery_data(context, found);
    iscsi_logout_sync(context);
    return targets;
}

}  // namespace umbra::host

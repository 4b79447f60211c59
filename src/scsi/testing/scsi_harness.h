// Runs single commands against a device server over volumes in memory.
#pragma once

#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "scsi/device.h"
#include "scsi/testing/memory_presentation.h"
#include "sim/executor.h"

namespace umbra::scsi::testing {

/// All of the data is there at once.
class ReadyData final : public DataOut {
public:
    explicit ReadyData(std::vector<std::byte> data = {}) : data_(std::move(data)) {}
    env::Task<base::Result<base::MutableBytes>> fetch(size_t bytes) override {
        fetched_ = true;
        if (cancelled_) co_return base::fail(base::Code::kCancelled, "cancelled");
        co_return base::MutableBytes(data_).first(std::min(bytes, data_.size()));
    }
    size_t announced() const override { return data_.size(); }
    env::Task<base::Result<void>> reserve(size_t) override {
        if (cancelled_) co_return base::fail(base::Code::kCancelled, "cancelled");
        co_return base::Result<void>();
    }
    void cancel() override { cancelled_ = true; }
    bool fetched() const { return fetched_; }

private:
    std::vector<std::byte> data_;
    bool cancelled_ = false;
    bool fetched_ = false;
};

struct Outcome {
    Status status = Status::kGood;
    std::vector<std::byte> data;
    uint8_t key = 0;
    uint8_t asc = 0;
    uint8_t ascq = 0;
    uint32_t information = 0;
    bool valid = false;
    bool answer = true;
    bool fetched = false;
    uint64_t data_out_bytes = 0;
    uint32_t sense() const { return static_cast<uint32_t>(key << 16 | asc << 8 | ascq); }
};

class Harness {
public:
    Harness() : device_(std::make_unique<Device>(executor, presentation)) {}
    ~Harness() {
        while (!nexuses_.empty()) close(0);
    }

    Nexus* open(std::string initiator = "iqn.2026-01.test:a", std::string isid = "0x1") {
        nexuses_.push_back(device_->open_nexus({initiator, initiator + ",i," + isid, kTarget}));
        return nexuses_.back().get();
    }
    void close(size_t index) {
        executor.run(device_->close_nexus(nexuses_[index].get()));
        nexuses_.erase(nexuses_.begin() + static_cast<ptrdiff_t>(index));
    }
    /// A new daemon over the same array.
    void restart() {
        while (!nexuses_.empty()) close(0);
        device_.reset();
        device_ = std::make_unique<Device>(executor, presentation);
    }
    Device& device() { return *device_; }

    static void set_cdb(Command& command, const std::vector<uint8_t>& cdb) {
        for (size_t i = 0; i < cdb.size() && i < command.cdb.size(); ++i) command.cdb[i] = std::byte{cdb[i]};
    }
    static Outcome outcome(const Response& response) {
        Outcome out;
        out.status = response.status;
        out.answer = response.answer;
        out.data_out_bytes = response.data_out_bytes;
        const auto data = response.data_in.span();
        out.data.assign(data.begin(), data.end());
        if (response.sense.size() >= kFixedSenseBytes) {
            out.key = std::to_integer<uint8_t>(response.sense[2]) & 0x0f;
            out.asc = std::to_integer<uint8_t>(response.sense[12]);
            out.ascq = std::to_integer<uint8_t>(response.sense[13]);
            out.valid = (response.sense[0] & std::byte{0x80}) != std::byte{0};
            out.information = base::load_be<uint32_t>(&response.sense[3]);
        }
        return out;
    }

    /// Runs a command to its end.
    Outcome run(Nexus* nexus, uint16_t lun, const std::vector<uint8_t>& cdb, std::vector<std::byte> data = {}) {
        ReadyData ready(std::move(data));
        Command command;
        command.lun = encode_lun(lun);
        set_cdb(command, cdb);
        command.data_out = &ready;
        Response response;
        executor.run(execute(device_.get(), nexus, &command, &response, nullptr));
        Outcome out = outcome(response);
        out.fetched = ready.fetched();
        return out;
    }
    /// The same, unit attentions taken away before.
    Outcome run_clean(Nexus* nexus, uint16_t lun, const std::vector<uint8_t>& cdb, std::vector<std::byte> data = {}) {
        while (run(nexus, lun, {0x00, 0, 0, 0, 0, 0}).key == 6) {
        }
        return run(nexus, lun, cdb, std::move(data));
    }
    static env::Task<void> execute(Device* device, Nexus* nexus, Command* command, Response* response, bool* done) {
        *response = co_await device->execute(nexus, command);
        if (done != nullptr) *done = true;
    }

    sim::SimExecutor executor;
    MemoryPresentation presentation;

private:
    std::unique_ptr<Device> device_;
    std::vector<std::unique_ptr<Nexus>> nexuses_;
};

inline std::vector<std::byte> pattern(size_t bytes, uint8_t seed) {
    std::vector<std::byte> out(bytes);
    for (size_t i = 0; i < bytes; ++i) out[i] = static_cast<std::byte>(seed + i * 7 + i / 251);
    return out;
}

inline std::vector<uint8_t> cdb10(uint8_t opcode, uint32_t lba, uint16_t blocks, uint8_t flags = 0) {
    return {opcode,
            flags,
            static_cast<uint8_t>(lba >> 24),
            static_cast<uint8_t>(lba >> 16),
            static_cast<uint8_t>(lba >> 8),
            static_cast<uint8_t>(lba),
            0,
            static_cast<uint8_t>(blocks >> 8),
            static_cast<uint8_t>(blocks),
            0};
}
inline std::vector<uint8_t> cdb16(uint8_t opcode, uint64_t lba, uint32_t blocks, uint8_t flags = 0) {
    std::vector<uint8_t> out(16);
    out[0] = opcode;
    out[1] = flags;
    for (size_t i = 0; i < 8; ++i) out[2 + i] = static_cast<uint8_t>(lba >> (56 - 8 * i));
    for (size_t i = 0; i < 4; ++i) out[10 + i] = static_cast<uint8_t>(blocks >> (24 - 8 * i));
    return out;
}

}  // namespace umbra::scsi::testing

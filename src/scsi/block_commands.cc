// Commands that touch the medium (SBC-3 clause 5). Ranges are checked before any data is asked for. A command whose
// initiator announced less data than the CDB says writes the whole blocks it was given; the transport reports the rest
// as a residual.
#include <algorithm>
#include <vector>

#include "scsi/context.h"

namespace umbra::scsi {

using base::Bytes;
using base::load_be;
using base::MutableBytes;
using base::store_be;
using lun::kLogicalBlockBytes;

namespace {

constexpr uint8_t kFua = 0x08;
constexpr uint8_t kProtect = 0xe0;
constexpr lun::WriteOptions kVolatile{.fua = false};

Response failed_with(const base::Error& error) {
    return Response::failed(failure_for(error.code));
}

}  // namespace

env::Task<Response> Device::read(Context* context) {
    const BlockRange range = decode_range(context->cdb());
    const bool six = context->spec.cdb_bytes == 6;
    if (!six && context->bit(1, kProtect)) co_return Response::failed(sense::kInvalidFieldInCdb);
    if (!context->in_range(range)) co_return Response::failed(sense::kLbaOutOfRange);
    if (range.blocks > kMaxTransferBlocks) co_return Response::failed(sense::kInvalidFieldInCdb);
    if (range.blocks == 0) co_return Response::good();
    const uint64_t offset = range.lba * kLogicalBlockBytes;
    const size_t bytes = range.blocks * kLogicalBlockBytes;
    if (!six && context->bit(1, kFua)) {
        // FUA on a read: what is read must be on stable storage first (SBC-3 4.15).
        const auto flushed = co_await context->volume.flush();
        if (!flushed) co_return failed_with(flushed.error());
    }
    const auto reserved = co_await context->command.data_out->reserve(bytes);
    if (!reserved) co_return failed_with(reserved.error());
    if (const auto failure = no_longer_allowed(*context)) co_return Response::failed(*failure);
    base::Buffer buffer(bytes);
    const auto done = co_await context->volume.read(offset, buffer.span());
    if (!done) co_return failed_with(done.error());
    co_return Response::data(std::move(buffer));
}

env::Task<Response> Device::write(Context* context) {
    const BlockRange range = decode_range(context->cdb());
    const bool six = context->spec.cdb_bytes == 6;
    if (!six && context->bit(1, kProtect)) co_return Response::failed(sense::kInvalidFieldInCdb);
    if (!context->in_range(range)) co_return Response::failed(sense::kLbaOutOfRange);
    if (range.blocks > kMaxTransferBlocks) co_return Response::failed(sense::kInvalidFieldInCdb);
    if (range.blocks == 0) co_return Response::good();
    const uint64_t bytes = range.blocks * kLogicalBlockBytes;
    const auto data = co_await context->command.data_out->fetch(bytes);
    if (!data) co_return failed_with(data.error());
    if (const auto failure = no_longer_allowed(*context)) co_return Response::failed(*failure);
    const Bytes whole = Bytes(*data).first(data->size() / kLogicalBlockBytes * kLogicalBlockBytes);
    if (!whole.empty()) {
        const lun::WriteOptions options{.fua = !six && context->bit(1, kFua)};
        const auto done = co_await context->volume.write(range.lba * kLogicalBlockBytes, whole, options);
        if (!done) co_return failed_with(done.error());
    }
    Response response;
    response.data_out_bytes = bytes;
    co_return response;
}

env::Task<std::optional<Failure>> Device::verify_medium(Context* context, uint64_t offset, uint64_t bytes) {
    base::Buffer piece(std::min<uint64_t>(bytes, kPieceBytes));
    while (bytes > 0) {
        if (context->aborted()) co_return Failure(Status::kTaskAborted);
        const size_t count = std::min<uint64_t>(bytes, piece.size());
        const auto done = co_await context->volume.read(offset, piece.span(0, count));
        if (!done) co_return failure_for(done.error().code);
        offset += count;
        bytes -= count;
    }
    co_return std::nullopt;
}

env::Task<std::optional<Failure>> Device::verify_content(Context* context, uint64_t offset, Bytes expected,
                                                         uint64_t bytes) {
    // `expected` covers the whole range, or is one block that every block must equal.
    const bool repeat = expected.size() != bytes;
    base::Buffer piece(std::min<uint64_t>(bytes, kPieceBytes));
    for (uint64_t at = 0; at < bytes;) {
        if (context->aborted()) co_return Failure(Status::kTaskAborted);
        const size_t count = std::min<uint64_t>(bytes - at, piece.size());
        const auto done = co_await context->volume.read(offset + at, piece.span(0, count));
        if (!done) co_return failure_for(done.error().code);
        for (size_t i = 0; i < count; i += kLogicalBlockBytes) {
            const Bytes want = expected.subspan(repeat ? 0 : at + i, kLogicalBlockBytes);
            const Bytes have = piece.span(i, kLogicalBlockBytes);
            const auto differ = std::ranges::mismatch(want, have);
            if (differ.in1 == want.end()) continue;
            Sense found = sense::kMiscompare;
            found.information = at + i + static_cast<uint64_t>(differ.in1 - want.begin());
            co_return Failure(found);
        }
        at += count;
    }
    co_return std::nullopt;
}

env::Task<Response> Device::write_and_verify(Context* context) {
    const BlockRange range = decode_range(context->cdb());
    const uint8_t compare = (context->byte(1) >> 1) & 0x03;
    if (context->bit(1, kProtect) || compare > 1) co_return Response::failed(sense::kInvalidFieldInCdb);
    if (!context->in_range(range)) co_return Response::failed(sense::kLbaOutOfRange);
    if (range.blocks > kMaxTransferBlocks) co_return Response::failed(sense::kInvalidFieldInCdb);
    if (range.blocks == 0) co_return Response::good();
    const uint64_t offset = range.lba * kLogicalBlockBytes;
    const uint64_t bytes = range.blocks * kLogicalBlockBytes;
    const auto data = co_await context->command.data_out->fetch(bytes);
    if (!data) co_return failed_with(data.error());
    if (const auto failure = no_longer_allowed(*context)) co_return Response::failed(*failure);
    const Bytes whole = Bytes(*data).first(data->size() / kLogicalBlockBytes * kLogicalBlockBytes);
    Response response;
    if (!whole.empty()) {
        // Verified is the medium, so the data goes there first.
        const lun::WriteOptions options{.fua = true};
        const auto done = co_await context->volume.write(offset, whole, options);
        if (!done) co_return failed_with(done.error());
        std::optional<Failure> failure;
        if (compare == 0) {
            failure = co_await verify_medium(context, offset, whole.size());
        } else {
            failure = co_await verify_content(context, offset, whole, whole.size());
        }
        if (failure) response = Response::failed(*failure);
    }
    response.data_out_bytes = bytes;
    co_return response;
}

env::Task<Response> Device::verify(Context* context) {
    const BlockRange range = decode_range(context->cdb());
    const uint8_t compare = (context->byte(1) >> 1) & 0x03;
    if (context->bit(1, kProtect) || compare == 2) co_return Response::failed(sense::kInvalidFieldInCdb);
    if (!context->in_range(range)) co_return Response::failed(sense::kLbaOutOfRange);
    if (range.blocks > kMaxTransferBlocks) co_return Response::failed(sense::kInvalidFieldInCdb);
    if (range.blocks == 0) co_return Response::good();
    const uint64_t offset = range.lba * kLogicalBlockBytes;
    const uint64_t bytes = range.blocks * kLogicalBlockBytes;
    Response response;
    if (compare == 0) {
        const auto failure = co_await verify_medium(context, offset, bytes);
        if (failure) response = Response::failed(*failure);
        co_return response;
    }
    const size_t wanted = compare == 1 ? bytes : kLogicalBlockBytes;
    const auto data = co_await context->command.data_out->fetch(wanted);
    if (!data) co_return failed_with(data.error());
    if (const auto failure = no_longer_allowed(*context)) co_return Response::failed(*failure);
    std::optional<Failure> failure;
    if (compare == 3) {
        if (data->size() < kLogicalBlockBytes) co_return Response::failed(sense::kInvalidFieldInCdb);
        failure = co_await verify_content(context, offset, *data, bytes);
    } else {
        const size_t whole = data->size() / kLogicalBlockBytes * kLogicalBlockBytes;
        if (whole > 0) failure = co_await verify_content(context, offset, Bytes(*data).first(whole), whole);
    }
    if (failure) response = Response::failed(*failure);
    response.data_out_bytes = wanted;
    co_return response;
}

env::Task<Response> Device::synchronize_cache(Context* context) {
    // The whole cache is flushed whatever the range, and IMMED waits too: an early answer would promise nothing.
    const BlockRange range = decode_range(context->cdb());
    if (!context->in_range(range)) co_return Response::failed(sense::kLbaOutOfRange);
    const auto done = co_await context->volume.flush();
    if (!done) co_return failed_with(done.error());
    co_return Response::good();
}

env::Task<Response> Device::write_same(Context* context) {
    const BlockRange range = decode_range(context->cdb());
    const bool sixteen = context->spec.cdb_bytes == 16;
    const bool anchor = context->bit(1, 0x10);
    const bool no_data = sixteen && context->bit(1, 0x01);
    const bool obsolete = context->bit(1, 0x06);  // PBDATA, LBDATA
    if (context->bit(1, kProtect) || anchor || obsolete) co_return Response::failed(sense::kInvalidFieldInCdb);
    if (!sixteen && context->bit(1, 0x01)) co_return Response::failed(sense::kInvalidFieldInCdb);
    if (range.blocks == 0) co_return Response::failed(sense::kInvalidFieldInCdb);  // WSNZ
    if (!context->in_range(range)) co_return Response::failed(sense::kLbaOutOfRange);
    if (range.blocks > kMaxWriteSameBlocks) co_return Response::failed(sense::kInvalidFieldInCdb);
    const uint64_t offset = range.lba * kLogicalBlockBytes;
    const uint64_t bytes = range.blocks * kLogicalBlockBytes;

    Response response;
    bool zeros = no_data;
    Bytes block;
    if (!no_data) {
        if (context->command.data_out->announced() != kLogicalBlockBytes) {
            co_return Response::failed(sense::kInvalidFieldInCdb);
        }
        const auto data = co_await context->command.data_out->fetch(kLogicalBlockBytes);
        if (!data) co_return failed_with(data.error());
        if (const auto failure = no_longer_allowed(*context)) co_return Response::failed(*failure);
        response.data_out_bytes = kLogicalBlockBytes;
        block = *data;
        zeros = base::is_zero(block);
    }
    if (zeros) {
        // With LBPRZ an unmapped block and one written with zeros cannot be told apart by reading: both cost nothing.
        const auto done = co_await context->volume.write_zeroes(offset, bytes, kVolatile);
        if (!done) co_return failed_with(done.error());
        co_return response;
    }
    base::Buffer piece(std::min<uint64_t>(bytes, kPieceBytes));
    for (size_t at = 0; at < piece.size(); at += kLogicalBlockBytes) {
        std::memcpy(piece.data() + at, block.data(), kLogicalBlockBytes);
    }
    for (uint64_t at = 0; at < bytes;) {
        if (const auto failure = no_longer_allowed(*context)) co_return Response::failed(*failure);
        // The first piece ends at a multiple of the piece size: the rest stays aligned.
        const uint64_t count =
            std::min({bytes - at, kPieceBytes - (offset + at) % kPieceBytes, uint64_t{piece.size()}});
        const auto done = co_await context->volume.write(offset + at, piece.span(0, count), kVolatile);
        if (!done) co_return failed_with(done.error());
        at += count;
    }
    co_return response;
}

env::Task<Response> Device::unmap(Context* context) {
    constexpr size_t kHeaderBytes = 8;
    constexpr size_t kDescriptorBytes = 16;
    if (context->bit(1, 0x01)) co_return Response::failed(sense::kInvalidFieldInCdb);  // ANCHOR
    const uint32_t list_bytes = load_be<uint16_t>(&context->cdb()[7]);
    if (list_bytes == 0) co_return Response::good();
    if (list_bytes < kHeaderBytes) co_return Response::failed(sense::kParameterListLengthError);
    if (list_bytes > kMaxParameterListBytes) co_return Response::failed(sense::kInvalidFieldInCdb);
    const auto data = co_await context->command.data_out->fetch(list_bytes);
    if (!data) co_return failed_with(data.error());
    if (const auto failure = no_longer_allowed(*context)) co_return Response::failed(*failure);
    if (data->size() < list_bytes) co_return Response::failed(sense::kParameterListLengthError);
    const size_t announced = load_be<uint16_t>(data->data() + 2);
    const size_t usable = std::min<size_t>(announced, list_bytes - kHeaderBytes);
    if (announced % kDescriptorBytes != 0 || usable % kDescriptorBytes != 0) {
        co_return Response::failed(sense::kInvalidFieldInParameterList);
    }
    const size_t count = usable / kDescriptorBytes;
    if (count > kMaxUnmapDescriptors) co_return Response::failed(sense::kInvalidFieldInParameterList);
    // All of the list is checked before any block is touched.
    uint64_t total = 0;
    for (size_t i = 0; i < count; ++i) {
        const std::byte* descriptor = data->data() + kHeaderBytes + i * kDescriptorBytes;
        const auto lba = load_be<uint64_t>(descriptor);
        const auto blocks = load_be<uint32_t>(descriptor + 8);
        if (lba > context->blocks() || blocks > context->blocks() - lba) {
            co_return Response::failed(sense::kLbaOutOfRange);
        }
        total += blocks;
    }
    if (total > kMaxUnmapBlocks) co_return Response::failed(sense::kInvalidFieldInParameterList);
    for (size_t i = 0; i < count; ++i) {
        if (const auto failure = no_longer_allowed(*context)) co_return Response::failed(*failure);
        const std::byte* descriptor = data->data() + kHeaderBytes + i * kDescriptorBytes;
        const uint64_t offset = load_be<uint64_t>(descriptor) * kLogicalBlockBytes;
        const uint64_t bytes = uint64_t{load_be<uint32_t>(descriptor + 8)} * kLogicalBlockBytes;
        if (bytes == 0) continue;
        const auto done = co_await context->volume.write_zeroes(offset, bytes, kVolatile);
        if (!done) co_return failed_with(done.error());
    }
    Response response;
    response.data_out_bytes = list_bytes;
    co_return response;
}

env::Task<Response> Device::compare_and_write(Context* context) {
    const auto lba = load_be<uint64_t>(&context->cdb()[2]);
    const uint64_t blocks = context->byte(13);
    if (context->bit(1, kProtect)) co_return Response::failed(sense::kInvalidFieldInCdb);
    if (!context->in_range({lba, blocks})) co_return Response::failed(sense::kLbaOutOfRange);
    if (blocks > kMaxCompareAndWriteBlocks) co_return Response::failed(sense::kInvalidFieldInCdb);
    if (blocks == 0) co_return Response::good();
    const uint64_t offset = lba * kLogicalBlockBytes;
    const size_t half = blocks * kLogicalBlockBytes;
    // Data of another size would be split in the wrong place: nothing of it can be trusted.
    if (context->command.data_out->announced() != 2 * half) co_return Response::failed(sense::kInvalidFieldInCdb);
    const auto data = co_await context->command.data_out->fetch(2 * half);
    if (!data) co_return failed_with(data.error());
    if (const auto failure = no_longer_allowed(*context)) co_return Response::failed(*failure);
    if (data->size() != 2 * half) co_return Response::failed(sense::kInvalidFieldInCdb);
    const Bytes expected = Bytes(*data).first(half);
    const Bytes replacement = Bytes(*data).subspan(half);
    const lun::WriteOptions options{.fua = context->bit(1, kFua)};
    const auto done = co_await context->volume.compare_and_write(offset, expected, replacement, options);
    Response response;
    if (!done) {
        response = failed_with(done.error());
        if (done.error().code == base::Code::kMiscompare) {
            // Where it differs is looked up afterwards; if the medium changed since, the offset is left out.
            const auto where = co_await verify_content(context, offset, expected, half);
            response = Response::failed(
                where && where->sense.key == SenseKey::kMiscompare ? *where : Failure(sense::kMiscompare));
        }
    }
    response.data_out_bytes = 2 * half;
    co_return response;
}

env::Task<Response> Device::get_lba_status(Context* context) {
    const auto lba = load_be<uint64_t>(&context->cdb()[2]);
    const auto allocation = load_be<uint32_t>(&context->cdb()[10]);
    if (lba >= context->blocks()) co_return Response::failed(sense::kLbaOutOfRange);
    if (allocation < 24) co_return Response::failed(sense::kInvalidFieldInCdb);
    const size_t room = std::min<size_t>((allocation - 8) / 16, kMaxLbaStatusDescriptors);
    const uint64_t start = lba * kLogicalBlockBytes;
    const uint64_t aligned = start / lun::kPhysicalBlockBytes * lun::kPhysicalBlockBytes;
    const auto extents =
        co_await context->volume.map_status(aligned, context->blocks() * kLogicalBlockBytes - aligned, room);
    if (!extents) co_return failed_with(extents.error());
    std::vector<std::byte> data(8);
    uint64_t next = start;
    for (const lun::Extent& extent : *extents) {
        const uint64_t end = extent.offset + extent.bytes;
        if (end <= next) continue;
        // A descriptor counts at most 2^32 - 1 blocks; the next starts where the previous ends.
        while (next < end && data.size() < 8 + room * 16) {
            const uint64_t blocks = std::min<uint64_t>((end - next) / kLogicalBlockBytes, 0xfffffff8u);
            const size_t at = data.size();
            data.resize(at + 16);
            store_be(&data[at], next / kLogicalBlockBytes);
            store_be(&data[at + 8], static_cast<uint32_t>(blocks));
            data[at + 12] = extent.mapped ? std::byte{0} : std::byte{1};
            next += blocks * kLogicalBlockBytes;
        }
    }
    store_be(data.data(), static_cast<uint32_t>(data.size() - 4));
    co_return parameter_data(data, allocation);
}

env::Task<Response> Device::start_stop_unit(Context* context) {
    const bool start = context->bit(4, 0x01);
    const bool load_eject = context->bit(4, 0x02);
    const bool no_flush = context->bit(4, 0x04);
    const uint8_t power_condition = context->byte(4) >> 4;
    if (load_eject || power_condition != 0) co_return Response::failed(sense::kInvalidFieldInCdb);
    if (!start && !no_flush) {
        // Stopping makes everything durable; the medium stays accessible, as it is for other initiators.
        const auto done = co_await context->volume.flush();
        if (!done) co_return failed_with(done.error());
    }
    co_return Response::good();
}

}  // namespace umbra::scsi

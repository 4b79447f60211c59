#include "cli/diskshadow_cabinet.h"

#include <fmt/format.h>
#include <libgcab.h>

#include <algorithm>
#include <memory>

#include "base/bytes.h"

namespace umbra::cli::diskshadow {

using base::Code;
using base::fail;
using base::Result;

namespace {

struct Unref {
    void operator()(void* object) const { g_object_unref(object); }
};
template <class T>
using Ref = std::unique_ptr<T, Unref>;

struct FreeError {
    void operator()(GError* error) const { g_error_free(error); }
};

std::unexpected<base::Error> library_failure(Code code, std::string_view what, GError* raw) {
    const std::unique_ptr<GError, FreeError> error(raw);
    return fail(code, fmt::format("{}: {}", what, error ? error->message : "no reason given"));
}

// [MS-CAB] 2.1 to 2.4: the parts whose values bound what the library does.
constexpr size_t kHeaderBytes = 36;
constexpr size_t kFolderBytes = 8;
constexpr size_t kMinFileBytes = 17;  // CFFILE with an empty name

struct Header {
    uint32_t file_bytes;
    uint32_t files_at;
    uint16_t folders;
    uint16_t files;
    uint16_t flags;
};

Result<Header> parse_header(std::string_view cabinet) {
    const auto* data = reinterpret_cast<const std::byte*>(cabinet.data());
    if (cabinet.size() < kHeaderBytes || !cabinet.starts_with("MSCF"))
        return fail(Code::kCorrupt, "not a cabinet file");
    if (base::load_le<uint8_t>(data + 24) != 3 || base::load_le<uint8_t>(data + 25) != 1) {
        return fail(Code::kVersion, "the cabinet is not of version 1.3");
    }
    const Header header{base::load_le<uint32_t>(data + 8), base::load_le<uint32_t>(data + 16),
                        base::load_le<uint16_t>(data + 26), base::load_le<uint16_t>(data + 28),
                        base::load_le<uint16_t>(data + 30)};
    if (header.file_bytes != cabinet.size()) {
        return fail(Code::kCorrupt,
                    fmt::format("the cabinet says it has {} bytes, but has {}", header.file_bytes, cabinet.size()));
    }
    if (header.flags != 0) return fail(Code::kCorrupt, "the cabinet is one of several or has reserved areas");
    return header;
}

// The directory of folders and files, and every data block, lie inside the file.
Result<> check_structure(std::string_view cabinet, const Header& header, const CabinetLimits& limits) {
    const auto* data = reinterpret_cast<const std::byte*>(cabinet.data());
    if (header.files == 0 || header.folders == 0) return fail(Code::kCorrupt, "the cabinet is empty");
    if (header.files > limits.members || header.folders > limits.members) {
        return fail(Code::kInvalidArgument, fmt::format("the cabinet has more than {} members", limits.members));
    }
    if (kHeaderBytes + header.folders * kFolderBytes > cabinet.size())
        return fail(Code::kCorrupt, "the cabinet is cut off");
    for (size_t i = 0; i < header.folders; ++i) {
        const auto* folder = data + kHeaderBytes + i * kFolderBytes;
        uint64_t at = base::load_le<uint32_t>(folder);
        const auto blocks = base::load_le<uint16_t>(folder + 4);
        const auto compression = base::load_le<uint16_t>(folder + 6) & GCAB_COMPRESSION_MASK;
        if (compression != GCAB_COMPRESSION_NONE && compression != GCAB_COMPRESSION_MSZIP) {
            return fail(Code::kCorrupt, "the cabinet is packed by a method that is not read here");
        }
        for (size_t block = 0; block < blocks; ++block) {
            if (at + 8 > cabinet.size()) return fail(Code::kCorrupt, "the cabinet is cut off");
            at += 8U + base::load_le<uint16_t>(data + at + 4);
            if (at > cabinet.size()) return fail(Code::kCorrupt, "the cabinet is cut off");
        }
    }
    uint64_t total = 0;
    uint64_t at = header.files_at;
    for (size_t i = 0; i < header.files; ++i) {
        if (at + kMinFileBytes > cabinet.size()) return fail(Code::kCorrupt, "the cabinet is cut off");
        const uint64_t bytes = base::load_le<uint32_t>(data + at);
        if (base::load_le<uint16_t>(data + at + 8) >= header.folders) {
            return fail(Code::kCorrupt, "a member lies in a folder that is not there");
        }
        total += bytes;
        if (bytes > limits.member_bytes || total > limits.total_bytes) {
            return fail(Code::kInvalidArgument, "a member is larger than metadata files may be");
        }
        const size_t end = cabinet.find('\0', at + 16);
        if (end == std::string_view::npos) return fail(Code::kCorrupt, "the cabinet is cut off");
        at = end + 1;
    }
    return {};
}

gboolean keep_in_memory(GCabFile* /*file*/, gpointer /*data*/) {
    return TRUE;
}

}  // namespace

Result<std::string> write_cabinet(const std::vector<CabinetMember>& members) {
    const Ref<GCabCabinet> cabinet(gcab_cabinet_new());
    const Ref<GCabFolder> folder(gcab_folder_new(GCAB_COMPRESSION_MSZIP));
    GError* error = nullptr;
    for (const auto& member : members) {
        const std::unique_ptr<GBytes, decltype(&g_bytes_unref)> bytes(
            g_bytes_new(member.content.data(), member.content.size()), &g_bytes_unref);
        const Ref<GCabFile> file(gcab_file_new_with_bytes(member.name.c_str(), bytes.get()));
        if (!gcab_folder_add_file(folder.get(), file.get(), FALSE, nullptr, &error)) {
            return library_failure(Code::kInternal, "cannot add " + member.name, error);
        }
    }
    if (!gcab_cabinet_add_folder(cabinet.get(), folder.get(), &error)) {
        return library_failure(Code::kInternal, "cannot build the cabinet", error);
    }
    const Ref<GOutputStream> stream(g_memory_output_stream_new_resizable());
    if (!gcab_cabinet_write_simple(cabinet.get(), stream.get(), nullptr, nullptr, nullptr, &error) ||
        !g_output_stream_close(stream.get(), nullptr, &error)) {
        return library_failure(Code::kInternal, "cannot build the cabinet", error);
    }
    auto* memory = G_MEMORY_OUTPUT_STREAM(stream.get());
    return std::string(static_cast<const char*>(g_memory_output_stream_get_data(memory)),
                       g_memory_output_stream_get_data_size(memory));
}

Result<std::vector<CabinetMember>> read_cabinet(std::string_view cabinet, const CabinetLimits& limits) {
    if (cabinet.size() > limits.file_bytes) return fail(Code::kInvalidArgument, "the cabinet is larger than it may be");
    UMBRA_ASSIGN(const auto header, parse_header(cabinet));
    UMBRA_TRY(check_structure(cabinet, header, limits));
    const Ref<GInputStream> stream(
        g_memory_input_stream_new_from_data(cabinet.data(), static_cast<gssize>(cabinet.size()), nullptr));
    const Ref<GCabCabinet> loaded(gcab_cabinet_new());
    GError* error = nullptr;
    if (!gcab_cabinet_load(loaded.get(), stream.get(), nullptr, &error)) {
        return library_failure(Code::kCorrupt, "the cabinet cannot be read", error);
    }
    // Without a destination the library keeps the contents with the members.
    if (!gcab_cabinet_extract_simple(loaded.get(), nullptr, keep_in_memory, nullptr, nullptr, &error)) {
        return library_failure(Code::kCorrupt, "the cabinet cannot be unpacked", error);
    }
    std::vector<CabinetMember> members;
    const auto* folders = gcab_cabinet_get_folders(loaded.get());
    for (guint i = 0; i < folders->len; ++i) {
        const std::unique_ptr<GSList, decltype(&g_slist_free)> files(
            gcab_folder_get_files(static_cast<GCabFolder*>(g_ptr_array_index(folders, i))), &g_slist_free);
        for (const auto* node = files.get(); node != nullptr; node = node->next) {
            auto* file = static_cast<GCabFile*>(node->data);
            auto* bytes = gcab_file_get_bytes(file);
            if (bytes == nullptr) return fail(Code::kCorrupt, "a member of the cabinet has no content");
            gsize size = 0;
            const auto* content = static_cast<const char*>(g_bytes_get_data(bytes, &size));
            if (size != gcab_file_get_size(file)) return fail(Code::kCorrupt, "a member of the cabinet is cut off");
            members.push_back({gcab_file_get_name(file), size == 0 ? std::string() : std::string(content, size)});
        }
    }
    return members;
}

}  // namespace umbra::cli::diskshadow

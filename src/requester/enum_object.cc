#include "requester/enum_object.h"

#include <algorithm>
#include <memory>
#include <mutex>

#include "com/ref_counted.h"

namespace umbra::requester {
namespace {

using Objects = std::shared_ptr<const proto::QueryReply>;

class EnumObject final : public com::RefCounted<IVssEnumObject> {
public:
    EnumObject(Objects objects, size_t next) : objects_(std::move(objects)), next_(next) {}

    HRESULT Next(ULONG count, VSS_OBJECT_PROP* out, ULONG* fetched) override {
        if (fetched != nullptr) *fetched = 0;
        if (fetched == nullptr || (out == nullptr && count != 0)) return E_POINTER;
        const std::lock_guard lock(mutex_);
        const size_t wanted = std::min<size_t>(count, size() - next_);
        size_t made = 0;
        const HRESULT result = frame([&]() -> com::Result<HRESULT> {
            for (; made < wanted; ++made) {
                out[made] = VSS_OBJECT_PROP{};
                UMBRA_TRY(fill(next_ + made, out[made]));
            }
            return made < count ? S_FALSE : S_OK;
        });
        if (FAILED(result)) {
            for (size_t i = 0; i < made; ++i) free_object(out[i]);
            return result;
        }
        next_ += made;
        *fetched = static_cast<ULONG>(made);
        return result;
    }

    HRESULT Skip(ULONG count) override {
        const std::lock_guard lock(mutex_);
        const size_t skipped = std::min<size_t>(count, size() - next_);
        next_ += skipped;
        return skipped < count ? S_FALSE : S_OK;
    }

    HRESULT Reset() override {
        const std::lock_guard lock(mutex_);
        next_ = 0;
        return S_OK;
    }

    HRESULT Clone(IVssEnumObject** copy) override {
        return frame(
            [&]() -> com::Result<> {
                const std::lock_guard lock(mutex_);
                *copy = com::make<EnumObject>(objects_, next_).detach();
                return {};
            },
            copy);
    }

private:
    size_t snapshots() const { return static_cast<size_t>(objects_->snapshots_size()); }
    size_t size() const { return snapshots() + static_cast<size_t>(objects_->providers_size()); }

    com::Result<> fill(size_t index, VSS_OBJECT_PROP& out) const {
        if (index < snapshots()) {
            out.Type = VSS_OBJECT_SNAPSHOT;
            return to_properties(objects_->snapshots(static_cast<int>(index)), out.Obj.Snap);
        }
        out.Type = VSS_OBJECT_PROVIDER;
        return to_properties(objects_->providers(static_cast<int>(index - snapshots())), out.Obj.Prov);
    }

    static void free_object(VSS_OBJECT_PROP& object) {
        if (object.Type == VSS_OBJECT_SNAPSHOT) {
            free_properties(object.Obj.Snap);
        } else {
            CoTaskMemFree(object.Obj.Prov.m_pwszProviderName);
            CoTaskMemFree(object.Obj.Prov.m_pwszProviderVersion);
        }
        object = VSS_OBJECT_PROP{};
    }

    const Objects objects_;
    std::mutex mutex_;
    size_t next_;  // guarded
};

}  // namespace

IVssEnumObject* new_enum(proto::QueryReply objects) {
    return com::make<EnumObject>(std::make_shared<const proto::QueryReply>(std::move(objects)), size_t{0}).detach();
}

}  // namespace umbra::requester

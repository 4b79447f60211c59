#include <gtest/gtest.h>

#include <stdexcept>

#include "com/class_factory.h"
#include "com/hresult.h"
#include "com/text.h"
#include "vsprov.h"
#include "vss.h"

namespace umbra::com {
namespace {

TEST(Compat, WidthsAreThoseOfWindows) {
    static_assert(sizeof(LONG) == 4 && sizeof(DWORD) == 4 && sizeof(BOOL) == 4 && sizeof(HRESULT) == 4);
    static_assert(sizeof(LONGLONG) == 8 && sizeof(ULONGLONG) == 8 && sizeof(GUID) == 16 && sizeof(FILETIME) == 8);
    static_assert(std::is_same_v<WCHAR, wchar_t>);
    static_assert(SUCCEEDED(S_FALSE) && FAILED(E_FAIL) && E_FAIL < 0);
    static_assert(HRESULT_FROM_WIN32(ERROR_ACCESS_DENIED) == E_ACCESSDENIED);
    static_assert(HRESULT_FROM_WIN32(0) == S_OK);
    static_assert(HRESULT_FROM_WIN32(0x80042301) == VSS_E_BAD_STATE);
    static_assert(sizeof(VARIANT) == 24 && offsetof(VARIANT, lVal) == 8);
}

TEST(Compat, UuidOfTypesAndExpressions) {
    IVssAsync* async = nullptr;
    EXPECT_EQ(__uuidof(IVssAsync), IID_IVssAsync);
    EXPECT_EQ(__uuidof(async), IID_IVssAsync);
    EXPECT_EQ(__uuidof(const IVssAsync&), IID_IVssAsync);
    EXPECT_NE(__uuidof(IVssAsync), __uuidof(IUnknown));
    EXPECT_EQ(IID_IVssAsync.Data1, 0x507c37b4U);
    EXPECT_EQ(IID_IVssAsync.Data4[7], 0x7e);
}

TEST(Compat, BstrKeepsItsLengthAndItsNuls) {
    BSTR text = SysAllocStringLen(L"a\0b", 3);
    EXPECT_EQ(SysStringLen(text), 3U);
    EXPECT_EQ(SysStringByteLen(text), 12U);
    EXPECT_EQ(text[2], L'b');
    EXPECT_EQ(text[3], 0);
    EXPECT_TRUE(SysReAllocString(&text, L"longer than before"));
    EXPECT_EQ(SysStringLen(text), 18U);
    SysFreeString(text);
    EXPECT_EQ(SysStringLen(nullptr), 0U);
    EXPECT_EQ(SysAllocString(nullptr), nullptr);
    SysFreeString(nullptr);
    BSTR empty = SysAllocString(L"");
    ASSERT_NE(empty, nullptr);
    EXPECT_EQ(SysStringLen(empty), 0U);
    EXPECT_EQ(empty[0], 0);
    SysFreeString(empty);
    EXPECT_EQ(SysAllocStringLen(nullptr, UINT_MAX), nullptr);
}

TEST(Compat, TaskMemory) {
    void* memory = CoTaskMemAlloc(0);
    EXPECT_NE(memory, nullptr);
    memory = CoTaskMemRealloc(memory, 100);
    ASSERT_NE(memory, nullptr);
    EXPECT_EQ(CoTaskMemRealloc(memory, 0), nullptr);
    CoTaskMemFree(nullptr);
}

TEST(Compat, GuidText) {
    wchar_t text[39];
    EXPECT_EQ(StringFromGUID2(IID_IVssAsync, text, 38), 0);
    EXPECT_EQ(StringFromGUID2(IID_IVssAsync, text, 39), 39);
    EXPECT_STREQ(text, L"{507C37B4-CF5B-4E95-B0AF-14EB9767467E}");
    GUID back{};
    EXPECT_EQ(CLSIDFromString(text, &back), S_OK);
    EXPECT_EQ(back, IID_IVssAsync);
    EXPECT_EQ(CLSIDFromString(L"{507c37b4-cf5b-4e95-b0af-14eb9767467e}", &back), S_OK);
    EXPECT_EQ(back, IID_IVssAsync);
    for (const wchar_t* bad :
         {L"", L"{", L"507c37b4-cf5b-4e95-b0af-14eb9767467e", L"{507c37b4-cf5b-4e95-b0af-14eb9767467e}x",
          L"{507c37b4-cf5b-4e95-b0af-14eb9767467e", L"{507c37b4-cf5b-4e95-b0af14eb9767467e0}",
          L"{507c37b4-cf5b-4e95-b0af-14eb9767467g}", L"Some.Class"}) {
        back = IID_IVssAsync;
        EXPECT_EQ(CLSIDFromString(bad, &back), CO_E_CLASSSTRING) << std::wstring(bad).size();
        EXPECT_EQ(back, GUID_NULL);
    }
    EXPECT_EQ(CLSIDFromString(nullptr, &back), S_OK);
    EXPECT_EQ(IIDFromString(L"x", &back), E_INVALIDARG);
    EXPECT_EQ(CLSIDFromString(text, nullptr), E_INVALIDARG);
    LPOLESTR allocated = nullptr;
    EXPECT_EQ(StringFromCLSID(IID_IVssAsync, &allocated), S_OK);
    EXPECT_STREQ(allocated, text);
    CoTaskMemFree(allocated);
}

TEST(Compat, NewGuidsDifferAndAreVersion4) {
    GUID a{};
    GUID b{};
    EXPECT_EQ(CoCreateGuid(&a), S_OK);
    EXPECT_EQ(CoCreateGuid(&b), S_OK);
    EXPECT_NE(a, b);
    EXPECT_EQ(a.Data3 >> 12, 4);
    EXPECT_EQ(a.Data4[0] >> 6, 2);
    EXPECT_EQ(CoCreateGuid(nullptr), E_INVALIDARG);
}

TEST(Text, GuidsConvertBothWays) {
    const auto guid = base::Guid::parse("507c37b4-cf5b-4e95-b0af-14eb9767467e");
    ASSERT_TRUE(guid);
    EXPECT_EQ(to_guid(*guid), IID_IVssAsync);
    EXPECT_EQ(from_guid(IID_IVssAsync), *guid);
}

TEST(Text, RoundTripsEveryScalarValue) {
    for (uint32_t value = 1; value <= 0x10FFFF; ++value) {
        const std::wstring wide(1, static_cast<wchar_t>(value));
        const auto utf8 = to_utf8(wide);
        if (value >= 0xD800 && value <= 0xDFFF) {
            ASSERT_FALSE(utf8) << value;
            continue;
        }
        ASSERT_TRUE(utf8) << value;
        const auto back = to_wide(*utf8);
        ASSERT_TRUE(back) << value;
        ASSERT_EQ(*back, wide) << value;
    }
}

TEST(Text, RefusesWhatIsNotUtf8) {
    using namespace std::string_view_literals;
    for (const std::string_view bad : {"\x80"sv, "\xC0\x80"sv, "\xC3"sv, "\xE2\x82"sv, "\xED\xA0\x80"sv,
                                       "\xF4\x90\x80\x80"sv, "\xF8\x88\x80\x80\x80"sv, "\xE0\x80\x80"sv, "\xFF"sv}) {
        const auto wide = to_wide(bad);
        ASSERT_FALSE(wide);
        EXPECT_EQ(wide.error().code, base::Code::kInvalidArgument);
        EXPECT_NE(to_wide_lossy(bad).find(L'\xFFFD'), std::wstring::npos);
    }
    EXPECT_EQ(to_wide_lossy("a\xFFz"), L"a\xFFFDz");
    EXPECT_FALSE(to_utf8(std::wstring(1, static_cast<wchar_t>(0x110000))));
}

TEST(Text, AllocatesForTheCaller) {
    auto text = co_string_utf8("/srv/d\xC3\xA4ten");
    ASSERT_TRUE(text);
    EXPECT_STREQ(text->get(), L"/srv/d\xE4ten");
    auto bstr = Bstr::from_utf8("x");
    ASSERT_TRUE(bstr);
    EXPECT_EQ(bstr_to_utf8(bstr->get()).value(), "x");
    EXPECT_EQ(bstr_to_utf8(nullptr).value(), "");
}

TEST(Guard, EveryCodeIsAFailure) {
    for (int code = 0; code <= static_cast<int>(base::Code::kInternal); ++code) {
        const auto hr = to_vss_hresult(static_cast<base::Code>(code));
        EXPECT_TRUE(FAILED(hr)) << code;
    }
    EXPECT_EQ(to_vss_hresult(base::Code::kBadState), VSS_E_BAD_STATE);
    EXPECT_EQ(to_vss_hresult(base::Code::kNoSpace), VSS_E_INSUFFICIENT_STORAGE);
}

TEST(Guard, TranslatesAndClears) {
    LONG number = 7;
    EXPECT_EQ(guard(
                  [&]() -> base::Result<> {
                      number = 8;
                      return base::fail(base::Code::kNotFound, "no such thing");
                  },
                  &number),
              VSS_E_OBJECT_NOT_FOUND);
    EXPECT_EQ(number, 0);
    EXPECT_EQ(guard(
                  [&]() -> Result<> {
                      number = 9;
                      return {};
                  },
                  &number),
              S_OK);
    EXPECT_EQ(number, 9);
    EXPECT_EQ(guard([]() -> Result<> { return fail(VSS_E_PROVIDER_VETO); }), VSS_E_PROVIDER_VETO);
    EXPECT_EQ(guard([]() -> Result<HRESULT> { return S_FALSE; }), S_FALSE);
    EXPECT_EQ(guard([]() -> HRESULT { return E_FAIL; }), E_FAIL);
    EXPECT_EQ(guard([]() -> Result<> {
                  UMBRA_TRY(base::Result<>(base::fail(base::Code::kBadState, "early")));
                  return {};
              }),
              VSS_E_BAD_STATE);
}

TEST(Guard, ContainsExceptions) {
    IUnknown* object = nullptr;
    EXPECT_EQ(guard([]() -> Result<> { throw std::bad_alloc(); }, &object), E_OUTOFMEMORY);
    EXPECT_EQ(guard([]() -> Result<> { throw std::runtime_error("x"); }), VSS_E_UNEXPECTED);
    EXPECT_EQ(guard([]() -> Result<> { throw 7; }), VSS_E_UNEXPECTED);
}

TEST(Guard, RefusesNullOutParameters) {
    LONG number = 5;
    bool ran = false;
    const auto body = [&]() -> Result<> {
        ran = true;
        return {};
    };
    EXPECT_EQ(guard(body, &number, static_cast<GUID*>(nullptr)), E_INVALIDARG);
    EXPECT_EQ(number, 0);
    EXPECT_FALSE(ran);
    EXPECT_EQ(guard(body, optional(static_cast<GUID*>(nullptr))), S_OK);
    EXPECT_TRUE(ran);
}

class Thing final
    : public RefCounted<Face<IVssHardwareSnapshotProviderEx, IVssHardwareSnapshotProvider>, IVssProviderNotifications> {
public:
    explicit Thing(bool* gone) : gone_(gone) {}
    ~Thing() override {
        if (gone_ != nullptr) *gone_ = true;
    }
    HRESULT AreLunsSupported(LONG, LONG, VSS_PWSZ*, VDS_LUN_INFORMATION*, BOOL*) override { return S_OK; }
    HRESULT FillInLunInfo(VSS_PWSZ, VDS_LUN_INFORMATION*, BOOL*) override { return S_OK; }
    HRESULT BeginPrepareSnapshot(VSS_ID, VSS_ID, LONG, LONG, VSS_PWSZ*, VDS_LUN_INFORMATION*) override { return S_OK; }
    HRESULT GetTargetLuns(LONG, VSS_PWSZ*, VDS_LUN_INFORMATION*, VDS_LUN_INFORMATION*) override { return S_OK; }
    HRESULT LocateLuns(LONG, VDS_LUN_INFORMATION*) override { return S_OK; }
    HRESULT OnLunEmpty(VSS_PWSZ, VDS_LUN_INFORMATION*) override { return S_OK; }
    HRESULT GetProviderCapabilities(ULONGLONG*) override { return E_NOTIMPL; }
    HRESULT OnLunStateChange(VDS_LUN_INFORMATION*, VDS_LUN_INFORMATION*, DWORD, DWORD) override { return S_OK; }
    HRESULT ResyncLuns(VDS_LUN_INFORMATION*, VDS_LUN_INFORMATION*, DWORD, IVssAsync**) override { return S_OK; }
    HRESULT OnReuseLuns(VDS_LUN_INFORMATION*, VDS_LUN_INFORMATION*, DWORD) override { return E_NOTIMPL; }
    HRESULT OnLoad(IUnknown*) override { return S_OK; }
    HRESULT OnUnload(BOOL force) override { return force ? S_OK : S_FALSE; }

private:
    bool* gone_;
};

TEST(RefCounted, AnswersForItsInterfacesAndThoseTheyExtend) {
    bool gone = false;
    const long before = live_objects();
    {
        auto thing = make<Thing>(&gone);
        EXPECT_EQ(live_objects(), before + 1);
        Ptr<IUnknown> unknown = thing.as<IUnknown>();
        const auto plain = unknown.as<IVssHardwareSnapshotProvider>();
        const auto extended = plain.as<IVssHardwareSnapshotProviderEx>();
        const auto notifications = extended.as<IVssProviderNotifications>();
        ASSERT_TRUE(plain && extended && notifications);
        EXPECT_EQ(notifications->OnUnload(FALSE), S_FALSE);
        EXPECT_EQ(notifications.as<IUnknown>().get(), unknown.get()) << "identity";
        EXPECT_FALSE(unknown.as<IVssAsync>());
        void* none = &gone;
        EXPECT_EQ(unknown->QueryInterface(IID_IVssAsync, &none), E_NOINTERFACE);
        EXPECT_EQ(none, nullptr);
        EXPECT_EQ(unknown->QueryInterface(IID_IUnknown, nullptr), E_POINTER);
        EXPECT_FALSE(gone);
    }
    EXPECT_TRUE(gone);
    EXPECT_EQ(live_objects(), before);
}

const CLSID kThingClass = compat::guid_literal("11111111-2222-3333-4444-555555555555");

TEST(ClassFactory, MakesObjects) {
    const ClassEntry classes[] = {
        {kThingClass, []() -> IUnknown* { return make<Thing>(nullptr).as<IUnknown>().detach(); }}};
    EXPECT_EQ(can_unload_now(), S_OK);
    Ptr<IClassFactory> factory;
    EXPECT_EQ(get_class_object(classes, IID_IVssAsync, IID_PPV_ARGS(factory.put())), CLASS_E_CLASSNOTAVAILABLE);
    ASSERT_EQ(get_class_object(classes, kThingClass, IID_PPV_ARGS(factory.put())), S_OK);
    EXPECT_EQ(can_unload_now(), S_FALSE);
    Ptr<IVssProviderNotifications> made;
    EXPECT_EQ(factory->CreateInstance(factory.get(), IID_PPV_ARGS(made.put())), CLASS_E_NOAGGREGATION);
    EXPECT_EQ(factory->CreateInstance(nullptr, IID_PPV_ARGS(made.put())), S_OK);
    EXPECT_TRUE(made);
    Ptr<IVssAsync> wrong;
    EXPECT_EQ(factory->CreateInstance(nullptr, IID_PPV_ARGS(wrong.put())), E_NOINTERFACE);
    factory->LockServer(TRUE);
    factory.reset();
    made.reset();
    EXPECT_EQ(can_unload_now(), S_FALSE) << "locked";
    ASSERT_EQ(get_class_object(classes, kThingClass, IID_PPV_ARGS(factory.put())), S_OK);
    factory->LockServer(FALSE);
    factory.reset();
    EXPECT_EQ(can_unload_now(), S_OK);
}

}  // namespace
}  // namespace umbra::com

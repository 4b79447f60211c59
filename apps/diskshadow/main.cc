// The requester shell: umbra::cli::diskshadow over libvssapi.
#include "cli/diskshadow_program.h"
#include "com/text.h"

namespace {

std::string last_error_text() {
    umbra::com::Bstr text;
    if (FAILED(UmbraGetLastErrorText(text.put()))) return {};
    return umbra::com::bstr_to_utf8(text.get()).value_or("");
}

}  // namespace

int main(int argc, char** argv) {
    return umbra::cli::diskshadow::run_diskshadow({argv + 1, argv + argc}, &CreateVssBackupComponents,
                                                  &last_error_text);
}

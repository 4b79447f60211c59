# diskshadow: everything but main() and libvssapi.
pkg_check_modules(GCAB REQUIRED IMPORTED_TARGET libgcab-1.0)
pkg_check_modules(LIBEDIT REQUIRED IMPORTED_TARGET libedit)
find_package(fmt REQUIRED)
find_package(pugixml REQUIRED)
umbra_library(cli_diskshadow
    SOURCES diskshadow_backup.cc diskshadow_cab.cc diskshadow_cabinet.cc diskshadow_codes.cc diskshadow_console.cc
            diskshadow_help.cc diskshadow_list.cc diskshadow_print.cc diskshadow_program.cc diskshadow_requester.cc
            diskshadow_settings.cc diskshadow_shell.cc diskshadow_text.cc diskshadow_transport.cc
            diskshadow_variables.cc
    DEPS umbra_base umbra_com fmt::fmt pugixml::pugixml PkgConfig::GCAB PkgConfig::LIBEDIT)
umbra_library(cli_testing SOURCES testing/fake_vss.cc DEPS umbra_com fmt::fmt)
umbra_test(diskshadow_test
    SOURCES diskshadow_cab_test.cc diskshadow_program_test.cc diskshadow_shell_test.cc diskshadow_text_test.cc
    DEPS umbra_cli_diskshadow umbra_cli_testing)
umbra_library(cli_vssadmin SOURCES vssadmin.cc DEPS umbra_cli_diskshadow)
umbra_test(vssadmin_test SOURCES vssadmin_test.cc DEPS umbra_cli_vssadmin umbra_cli_testing)

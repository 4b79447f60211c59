# Build rules shared by every directory.
include(GNUInstallDirs)
include(CTest)
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)

set(CMAKE_CXX_STANDARD 23)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib)
set(CMAKE_INSTALL_RPATH "$ORIGIN/../${CMAKE_INSTALL_LIBDIR}")

find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM)
    set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_BASEDIR=${CMAKE_SOURCE_DIR} CCACHE_NOHASHDIR=1
        ${CCACHE_PROGRAM})
    set(CMAKE_C_COMPILER_LAUNCHER ${CMAKE_CXX_COMPILER_LAUNCHER})
endif()
find_program(MOLD_PROGRAM mold)
if(MOLD_PROGRAM)
    add_link_options(-fuse-ld=mold)
endif()

set(UMBRA_SANITIZE "" CACHE STRING "Value of -fsanitize, or empty")
if(UMBRA_SANITIZE)
    add_compile_options(-fsanitize=${UMBRA_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
    add_link_options(-fsanitize=${UMBRA_SANITIZE})
endif()

find_package(GTest REQUIRED)

add_library(umbra_options INTERFACE)
target_include_directories(umbra_options INTERFACE ${CMAKE_SOURCE_DIR}/src)
target_compile_options(umbra_options INTERFACE -Wall -Wextra -Wpedantic -Werror -Wswitch -Wshadow -Wnon-virtual-dtor
    -Woverloaded-virtual -fno-strict-aliasing -msse4.2)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # g++ 12 reports false positives of these three in inlined coroutine frames and std::expected (GCC bugs 105562, 107138).
    target_compile_options(umbra_options INTERFACE -Wno-maybe-uninitialized -Wno-dangling-pointer -Wno-restrict)
endif()

if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    # libstdc++ 12's stable_sort uses get_temporary_buffer, which is deprecated.
    target_compile_options(umbra_options INTERFACE -Wno-deprecated-declarations)
endif()

# umbra_library(name SOURCES … [DEPS …]): one directory's static library, target umbra_<name>.
function(umbra_library name)
    cmake_parse_arguments(arg "" "" "SOURCES;DEPS" ${ARGN})
    add_library(umbra_${name} STATIC ${arg_SOURCES})
    target_link_libraries(umbra_${name} PUBLIC umbra_options ${arg_DEPS})
endfunction()

# umbra_test(name SOURCES … [DEPS …] [TIMEOUT s]): one gtest binary, one ctest entry. Exit code 77 means skipped.
function(umbra_test name)
    cmake_parse_arguments(arg "" "TIMEOUT" "SOURCES;DEPS" ${ARGN})
    if(NOT arg_TIMEOUT)
        set(arg_TIMEOUT 120)
    endif()
    add_executable(${name} ${arg_SOURCES})
    target_link_libraries(${name} PRIVATE umbra_options ${arg_DEPS} GTest::gmock GTest::gtest_main)
    set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
    add_test(NAME ${name} COMMAND ${name})
    set_tests_properties(${name} PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT ${arg_TIMEOUT})
endfunction()

# umbra_program(name SOURCES … [DEPS …]): a program in build/<preset>/bin.
function(umbra_program name)
    cmake_parse_arguments(arg "" "" "SOURCES;DEPS" ${ARGN})
    add_executable(${name} ${arg_SOURCES})
    target_link_libraries(${name} PRIVATE umbra_options ${arg_DEPS})
    install(TARGETS ${name} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endfunction()

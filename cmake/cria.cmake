# How every target of cria is built. A folder's CMakeLists.txt says only what is in it and what it needs.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)  # the Python modules link everything
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bin)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()

# Files of a target are compiled some together, since headers take most of a file's time. Where two files of a target use one
# name for different things, one of them is named to cria_compile_alone. OFF: each by itself, which builds again sooner after a
# change and shows that each includes what it needs (preset dev).
option(CRIA_UNITY "compile files of a target together" ON)
set(CMAKE_UNITY_BUILD ${CRIA_UNITY})
set(CMAKE_UNITY_BUILD_BATCH_SIZE 8)
function(cria_compile_alone)
  set_source_files_properties(${ARGN} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
endfunction()

find_package(Threads REQUIRED)
find_package(fmt REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)

find_program(CCACHE ccache)
if(CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE})
endif()

add_library(cria_flags INTERFACE)
target_compile_options(cria_flags INTERFACE
  -Wall -Wextra -Werror -Wno-missing-field-initializers
  # Contraction would make a result depend on the instruction set that a file happens to be compiled for;
  # where a fused multiply-add is part of the specification, the code says std::fma.
  -ffp-contract=off)
target_include_directories(cria_flags INTERFACE ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/src)
target_link_libraries(cria_flags INTERFACE Threads::Threads fmt::fmt)

if(CRIA_SANITIZE)
  # No -g here: it would raise the preset's -g1, which has the lines that reports name, for a third more time to compile.
  target_compile_options(cria_flags INTERFACE
    -fsanitize=${CRIA_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(cria_flags INTERFACE -fsanitize=${CRIA_SANITIZE})
endif()
if(CRIA_FUZZ)
  target_compile_options(cria_flags INTERFACE -fsanitize=fuzzer-no-link,address,undefined -g
                                              -fno-sanitize-recover=all)
  target_link_options(cria_flags INTERFACE -fsanitize=address,undefined)
endif()

# cria_library(name [COMPUTES] SOURCES a.cc ... [DEPS cria_base ...]): DEPS are PUBLIC edges. COMPUTES: tests wait for what it
# computes, so that it is optimized under the sanitizers, too.
function(cria_library name)
  cmake_parse_arguments(ARG "COMPUTES" "" "SOURCES;DEPS" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_link_libraries(${name} PUBLIC cria_flags ${ARG_DEPS})
  if(CRIA_SANITIZE AND NOT ARG_COMPUTES)
    target_compile_options(${name} PRIVATE -O0)
  endif()
endfunction()

# cria_isa_sources(library ISA sources...): files compiled for one instruction set, left out elsewhere.
# Nothing outside these files is compiled with the flags.
function(cria_isa_sources library isa)
  # Instrumented, these take minutes to compile. The sanitizers see the same sources in avx512_emulated.cc.
  if(CRIA_SANITIZE AND isa MATCHES "^(avx512vnni|amx_int8)$")
    return()
  endif()
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64" AND isa STREQUAL "avx2")
    set(options -mavx2 -mfma -mf16c)
  elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64" AND isa MATCHES "^(avx512vnni|amx_int8)$")
    # GCC 12 warns of its own header (its bug 105593).
    set(options -mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -Wno-maybe-uninitialized
                -Wno-uninitialized)
    if(isa STREQUAL "amx_int8")
      list(APPEND options -mavx512vbmi -mavx512vbmi2 -mamx-tile -mamx-int8)
    endif()
  elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64" AND isa STREQUAL "neon_dotprod")
    set(options -march=armv8.2-a+dotprod+fp16)
  elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64" AND isa STREQUAL "neon_i8mm")
    set(options -march=armv8.2-a+dotprod+fp16+i8mm)
  else()
    return()
  endif()
  target_sources(${library} PRIVATE ${ARGN})
  set_property(SOURCE ${ARGN} TARGET_DIRECTORY ${library} APPEND PROPERTY COMPILE_OPTIONS ${options})
  string(TOUPPER ${isa} upper)
  target_compile_definitions(${library} PUBLIC CRIA_HAVE_${upper}=1)
endfunction()

if(CRIA_TESTS)
  find_package(GTest REQUIRED)
endif()

# What ./test.sh builds and runs under the sanitizers: everything that reads what nobody vouches for, and the kernels
# (ctest label "sanitized"). The other unit tests can be, too (build all of the preset asan); compiling them instrumented
# takes longer than everything else together.
add_custom_target(sanitized_tests)
# cria_sanitized(program tests...)
function(cria_sanitized program)
  add_dependencies(sanitized_tests ${program})
  set_property(TEST ${ARGN} APPEND PROPERTY LABELS sanitized)
endfunction()
if(CRIA_BENCHES)
  find_package(benchmark REQUIRED)
endif()

# cria_quick_to_compile(target): what only waits for the libraries. Optimizing the headers that commands and tests include
# (CLI11, GoogleTest, nlohmann-json) in every file takes a fifth of their time, with sanitizers as long as everything else in
# them, and GCC 12 sees uninitialized variables in std::regex that are none.
function(cria_quick_to_compile target)
  if(CRIA_SANITIZE)
    target_compile_options(${target} PRIVATE -O0)
  else()
    target_compile_options(${target} PRIVATE $<$<CONFIG:Release>:-O1>)
  endif()
endfunction()

# cria_test(name [SANITIZED] [SHARDS n] SOURCES ... DEPS ...): one GoogleTest program, a test of ctest. SANITIZED: part of
# sanitized_tests. SHARDS: n tests of ctest, name and name_2 to name_n, which run at once, each a part of its tests.
function(cria_test name)
  if(NOT CRIA_TESTS)
    return()
  endif()
  cmake_parse_arguments(ARG "SANITIZED" "SHARDS" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} cria_flags GTest::gtest GTest::gmock GTest::gtest_main)
  target_compile_definitions(${name} PRIVATE CRIA_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  cria_quick_to_compile(${name})
  add_test(NAME ${name} COMMAND ${name})
  set(tests ${name})
  if(ARG_SHARDS)
    set_property(TEST ${name} PROPERTY ENVIRONMENT GTEST_TOTAL_SHARDS=${ARG_SHARDS} GTEST_SHARD_INDEX=0)
    foreach(shard RANGE 2 ${ARG_SHARDS})
      math(EXPR index "${shard} - 1")
      add_test(NAME ${name}_${shard} COMMAND ${name})
      set_property(TEST ${name}_${shard} PROPERTY ENVIRONMENT GTEST_TOTAL_SHARDS=${ARG_SHARDS} GTEST_SHARD_INDEX=${index})
      list(APPEND tests ${name}_${shard})
    endforeach()
  endif()
  set_tests_properties(${tests} PROPERTIES TIMEOUT 600)
  if(ARG_SANITIZED)
    cria_sanitized(${name} ${tests})
  endif()
endfunction()

# cria_bench(name SOURCES ... DEPS ...): one Google Benchmark program.
function(cria_bench name)
  if(NOT CRIA_BENCHES)
    return()
  endif()
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} cria_flags benchmark::benchmark_main)
endfunction()

# cria_fuzz(name SOURCES ... DEPS ...): LLVMFuzzerTestOneInput. With -DCRIA_FUZZ=ON a libFuzzer program; in any
# other build a test that replays a fixed number of random and mutated inputs (tests/fuzz_replay.cc), so
# that the same code is checked on every machine.
function(cria_fuzz name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS;SEEDS" ${ARGN})
  if(CRIA_FUZZ)
    add_executable(${name} ${ARG_SOURCES})
    target_link_libraries(${name} PRIVATE ${ARG_DEPS} cria_flags)
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  elseif(CRIA_TESTS)
    add_executable(${name} ${ARG_SOURCES} ${PROJECT_SOURCE_DIR}/tests/fuzz_replay.cc)
    target_link_libraries(${name} PRIVATE ${ARG_DEPS} cria_flags)
    cria_quick_to_compile(${name})
    add_test(NAME ${name} COMMAND ${name} ${ARG_SEEDS})
    set_tests_properties(${name} PROPERTIES TIMEOUT 300)
    cria_sanitized(${name} ${name})
  endif()
endfunction()

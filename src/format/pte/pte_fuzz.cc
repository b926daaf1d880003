// Bytes that read are a program that can be walked and written again.
#include <algorithm>
#include <cstdlib>
#include <string>

#include "format/fuzz_patches.h"
#include "format/pte/llm_method.h"
#include "format/pte/pte_example.h"
#include "format/pte/pte_reader.h"

namespace {

using namespace cria::pte;

std::uint64_t touch(std::span<const std::byte> bytes) {
  if (bytes.empty()) return 0;
  return std::to_integer<unsigned>(bytes.front()) + std::to_integer<unsigned>(bytes.back());
}

std::uint64_t walk(const PteFile& file) {
  std::uint64_t sum = 0;
  for (std::uint32_t i = 0; i < file.program.segments.size(); ++i) sum += touch(file.segment(i));
  for (const InlineData& data : file.program.constant_buffer) sum += touch(data.bytes);
  for (const ExecutionPlan& plan : file.program.execution_plans) {
    for (const BackendDelegate& delegate : plan.delegates) {
      sum += touch(file.delegate_blob(delegate));
    }
    sum += read_llm_method(plan).ok();
  }
  return sum;
}

void check(std::span<const std::byte> bytes) {
  const auto file = read_pte(bytes, "fuzz");
  if (!file.ok()) return;
  const volatile std::uint64_t sink = walk(*file);  // so that the reads stay
  static_cast<void>(sink);
  // Compared as bytes: a program may hold NaNs.
  const std::vector<std::byte> first = emit_flatbuffer(file->program);
  if (!verify_flatbuffer(first).ok()) std::abort();
  const auto again = parse_flatbuffer(first);
  if (!again.ok() || emit_flatbuffer(*again) != first) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::string example = [] {
    Program program = example_program();
    program.segments[1].size_bytes = 50;  // little but the program
    const std::vector<std::byte> bytes = example_file(program);
    return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }();
  const std::span<const std::uint8_t> input(data, size);
  cria::for_each_patched(example, input.first(std::min<std::size_t>(size, 256)), check);
  if (size > 256) {
    std::vector<std::byte> copy(size);
    std::memcpy(copy.data(), data, size);
    check(copy);
  }
  return 0;
}

// Test support: a program that uses every part of the format, and bytes around it.
#pragma once

#include <cstring>
#include <vector>

#include "format/pte/pte_flatbuffer.h"
#include "format/pte/pte_program.h"
#include "format/pte/pte_writer.h"

namespace cria::pte {

// Inline data that outlives every program made from it.
inline constexpr std::byte kInlineBytes[] = {std::byte{1}, std::byte{2}, std::byte{3}};

inline ExecutionPlan example_plan() {
  ExecutionPlan plan;
  plan.name = "forward";
  plan.container = ContainerMetadata{"in", "out"};
  const Tensor planned{.scalar_type = ScalarType::kFloat,
                       .sizes = {2, 3},
                       .dim_order = {1, 0},
                       .allocation = AllocationInfo{1, std::uint64_t{1} << 33},
                       .shape_dynamism = ShapeDynamism::kDynamicBound};
  const Tensor constant{.scalar_type = ScalarType::kBFloat16,
                        .sizes = {4},
                        .dim_order = {0},
                        .requires_grad = true,
                        .data_buffer_idx = 1,
                        .layout = 1};
  const Tensor mutable_state{
      .scalar_type = ScalarType::kLong,
      .sizes = {},
      .data_buffer_idx = 1,
      .allocation = AllocationInfo{2, 8},
      .extra =
          ExtraTensorInfo{.fully_qualified_name = "state", .device_type = 1, .device_index = 2}};
  const Tensor external{
      .sizes = {1},
      .dim_order = {0},
      .data_buffer_idx = 77,
      .extra = ExtraTensorInfo{.fully_qualified_name = "weights.0", .location = 1}};
  plan.values = {planned,
                 constant,
                 mutable_state,
                 external,
                 None{},
                 std::int64_t{-5},
                 true,
                 2.5,
                 std::string("text\0with a zero", 16),
                 IntList{{5, 5}},
                 DoubleList{{0.5, -1e300}},
                 BoolList{{1, 0, 1}},
                 TensorList{{0, 1}},
                 OptionalTensorList{{-1, 2, 4}}};
  plan.inputs = {0};
  plan.outputs = {2, 5};
  plan.chains = {
      {.inputs = {0},
       .outputs = {2},
       .instructions = {KernelCall{1, {0, 4, 2}}, DelegateCall{0, {0, 2}}, DelegateCall{1, {}},
                        MoveCall{0, 3}, JumpFalseCall{6, 6}, FreeCall{3}}},
      {}};
  plan.operators = {{"aten::add", "out"}, {"aten::mul", ""}};
  plan.delegates = {{.id = "SomeBackend",
                     .in_segment = true,
                     .data_index = 1,
                     .compile_specs = {{"key", {std::byte{0}, std::byte{255}}}, {"empty", {}}}},
                    {.id = "OtherBackend", .in_segment = false, .data_index = 0}};
  plan.non_const_buffer_sizes = {0, (std::int64_t{1} << 33) + 24, 16};
  plan.non_const_buffer_devices = {{.buffer_index = 1, .device_type = 1, .device_index = -1}};
  return plan;
}

inline Program example_program() {
  Program program;
  program.execution_plans = {example_plan(), example_plan()};
  program.execution_plans[1].name = "second";
  program.backend_delegate_data = {{kInlineBytes}};
  program.segments = {
      {.size_bytes = 100}, {.size_bytes = 5000}, {.size_bytes = 0}, {.size_bytes = 64}};
  program.constant_segment = SubsegmentOffsets{0, {0, 16}};
  program.mutable_data_segments = {{3, {0, 8}}};
  program.named_data = {{"weights", 1}, {"empty", 2}};
  return program;
}

// What each segment of a test file holds: its index, repeated.
inline std::vector<std::byte> segment_bytes(const Program& program, std::size_t segment) {
  return std::vector<std::byte>(program.segments[segment].size_bytes,
                                static_cast<std::byte>(segment + 1));
}

// The file that a writer makes of the program. REQUIRES: a valid one.
inline std::vector<std::byte> example_file(Program program) {
  const ProgramBytes encoded = encode_program(program).value();
  std::vector<std::byte> file = encoded.bytes;
  file.resize(encoded.file_bytes);
  for (std::size_t i = 0; i < program.segments.size(); ++i) {
    const std::vector<std::byte> bytes = segment_bytes(program, i);
    if (bytes.empty()) continue;
    std::memcpy(file.data() + encoded.segment_base_offset + program.segments[i].offset_bytes,
                bytes.data(), bytes.size());
  }
  return file;
}

}  // namespace cria::pte

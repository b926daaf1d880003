#include "format/pte/program_builder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <functional>

#include "base/mapped_file.h"
#include "format/pte/call_order.h"
#include "format/pte/llm_method.h"
#include "format/pte/pte_reader.h"
#include "format/pte/pte_verify.h"

namespace cria::pte {
namespace {

using ::testing::HasSubstr;

constexpr LlmMethodShape kPrefill{.max_tokens = 32,
                                  .n_positions = 256,
                                  .bytes_per_position = 4096,
                                  .scratch_bytes = 65536,
                                  .n_vocab = 512};
constexpr LlmMethodShape kVerify{.max_tokens = 8,
                                 .n_positions = 256,
                                 .bytes_per_position = 4096,
                                 .scratch_bytes = 100,
                                 .n_vocab = 513,
                                 .all_rows = true};

ProgramSpec example_spec() {
  ProgramSpec spec;
  for (const auto& [name, shape] : {std::pair{"prefill", kPrefill}, {"verify", kVerify}}) {
    spec.methods.push_back({.name = name,
                            .arguments = llm_arguments(shape).value(),
                            .delegate_id = "CriaCpuBackend",
                            .blob = std::vector<std::byte>(10, std::byte(name[0])),
                            .compile_specs = {text_spec("act", "a16")}});
  }
  spec.constants = {{"get_max_seq_len", {std::int64_t{256}}},
                    {"get_eos_ids", {std::int64_t{1}, std::int64_t{2}}},
                    {"use_kv_cache", {true}}};
  spec.named_data = {{"w0", 100}, {"empty", 0}, {"w1", 5000}};
  return spec;
}

TEST(ProgramBuilder, MethodsAreOneCallOfTheirDelegate) {
  const Program program = build_program(example_spec()).value();
  const ExecutionPlan& plan = *program.find_method("prefill");
  EXPECT_EQ(plan.inputs, (std::vector<std::int32_t>{0, 1}));
  EXPECT_EQ(plan.outputs, std::vector<std::int32_t>{4});
  ASSERT_EQ(plan.chains.size(), 1u);
  EXPECT_EQ(plan.chains[0].instructions,
            (std::vector<Instruction>{DelegateCall{0, {0, 1, 2, 3, 4}}}));
  ASSERT_EQ(plan.delegates.size(), 1u);
  EXPECT_EQ(plan.delegates[0].id, "CriaCpuBackend");
  EXPECT_EQ(plan.delegates[0].compile_specs[0], text_spec("act", "a16"));
}

TEST(ProgramBuilder, WhatACallWaitsForIsReadAsWritten) {
  for (const std::vector<std::size_t>& after :
       {std::vector<std::size_t>{}, {0}, {4}, {0, 2, 3}, {3, 0}}) {
    BackendDelegate delegate;
    delegate.compile_specs = {text_spec("act", "a8"), call_order_spec(after)};
    EXPECT_EQ(read_call_order(delegate, 5).value(), after);
    delegate.compile_specs.pop_back();
    EXPECT_EQ(read_call_order(delegate, 5).value(), std::nullopt);
  }
}

// Every argument has memory of its own, aligned for vectors; the cache has an arena for itself.
TEST(ProgramBuilder, ArgumentsDoNotOverlap) {
  const Program program = build_program(example_spec()).value();
  for (const char* name : {"prefill", "verify"}) {
    const ExecutionPlan& plan = *program.find_method(name);
    ASSERT_EQ(plan.non_const_buffer_sizes.size(), 3u);
    EXPECT_EQ(plan.non_const_buffer_sizes[kCacheArena], 256 * 4096);
    std::uint64_t end = 0;
    for (const Value& value : plan.values) {
      const auto& tensor = std::get<Tensor>(value);
      EXPECT_EQ(tensor.allocation->offset_bytes % 64, 0u);
      if (tensor.allocation->memory_id == kCacheArena) continue;
      EXPECT_GE(tensor.allocation->offset_bytes, end);
      end = tensor.allocation->offset_bytes + *tensor_bytes(tensor);
    }
    EXPECT_LE(end, static_cast<std::uint64_t>(plan.non_const_buffer_sizes[kActivationArena]));
  }
}

TEST(ProgramBuilder, ConstantMethodsReturnTheirValues) {
  const Program program = build_program(example_spec()).value();
  const ExecutionPlan& ids = *program.find_method("get_eos_ids");
  EXPECT_TRUE(ids.inputs.empty());
  EXPECT_EQ(ids.outputs, (std::vector<std::int32_t>{0, 1}));
  EXPECT_EQ(ids.values, (std::vector<Value>{std::int64_t{1}, std::int64_t{2}}));
  EXPECT_EQ(program.find_method("use_kv_cache")->values, std::vector<Value>{true});
}

TEST(ProgramBuilder, WritesBlobsThenNamedData) {
  const std::string path =
      ::testing::TempDir() + "cria_builder_" + std::to_string(::getpid()) + ".pte";
  const ProgramSpec spec = example_spec();
  {
    Result<PteWriter> writer = start_program(path, spec);
    ASSERT_TRUE(writer.ok()) << writer.status().message();
    for (std::size_t i = 0; i < spec.named_data.size(); ++i) {
      const std::vector<std::byte> bytes(spec.named_data[i].size_bytes, std::byte(i + 1));
      ASSERT_TRUE(writer->append(writer->program().named_data[i].segment_index, bytes).ok());
    }
    ASSERT_TRUE(writer->finish().ok());
  }
  const MappedFile mapped = MappedFile::open(path).value();
  const Result<PteFile> file = read_pte(mapped.bytes(), path);
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_EQ(file->named_data("w1")->back(), std::byte{3});
  EXPECT_EQ(file->named_data("empty")->size(), 0u);
  const ExecutionPlan& verify = *file->program.find_method("verify");
  EXPECT_EQ(file->delegate_blob(verify.delegates[0]).front(), std::byte{'v'});
  EXPECT_EQ(read_llm_method(verify).value(), kVerify);
  std::remove(path.c_str());
}

TEST(ProgramBuilder, RefusesArgumentsItCannotPlace) {
  ProgramSpec spec = example_spec();
  spec.methods[0].arguments[0].sizes = {-1, 1};
  EXPECT_THAT(build_program(spec).status().message(), HasSubstr("argument 0 has no valid size"));
  spec = example_spec();
  spec.methods[0].arguments[3].arena = 3;
  EXPECT_THAT(build_program(spec).status().message(), HasSubstr("argument 3 is in arena 3"));
}

TEST(LlmMethod, ShapeSurvivesTheProgram) {
  const Program program = build_program(example_spec()).value();
  EXPECT_EQ(read_llm_method(*program.find_method("prefill")).value(), kPrefill);
  EXPECT_EQ(read_llm_method(*program.find_method("verify")).value(), kVerify);
}

TEST(LlmMethod, SizesMustFitTheFormat) {
  LlmMethodShape shape = kPrefill;
  shape.scratch_bytes = std::uint64_t{1} << 31;
  EXPECT_THAT(llm_arguments(shape).status().message(), HasSubstr("scratch_bytes is 2147483648"));
  shape = kPrefill;
  shape.n_positions = 0;
  EXPECT_THAT(llm_arguments(shape).status().message(), HasSubstr("n_positions is 0"));
  shape = kPrefill;
  shape.max_tokens = -1;
  EXPECT_EQ(llm_arguments(shape).status().code(), ErrorCode::kUnsupported);
}

// A cache larger than 2 GiB, which no single size of the format can say.
TEST(LlmMethod, LargeCaches) {
  LlmMethodShape shape = kPrefill;
  shape.n_positions = 131072;
  shape.bytes_per_position = 114688;
  ProgramSpec spec = example_spec();
  spec.methods[0].arguments = llm_arguments(shape).value();
  const Program program = build_program(spec).value();
  EXPECT_EQ(program.execution_plans[0].non_const_buffer_sizes[kCacheArena], 131072ll * 114688);
  EXPECT_EQ(read_llm_method(program.execution_plans[0]).value(), shape);
}

TEST(LlmMethod, OtherMethodsAreNamed) {
  struct Case {
    std::function<void(ExecutionPlan&)> change;
    const char* message;
  };
  const auto tensor = [](ExecutionPlan& plan, int i) -> Tensor& {
    return std::get<Tensor>(plan.values[i]);
  };
  const Case cases[] = {
      {[](ExecutionPlan& p) { p.chains[0].instructions[0] = FreeCall{0}; }, "more than calling"},
      {[](ExecutionPlan& p) { p.chains.clear(); }, "calls no delegate"},
      {[](ExecutionPlan& p) {
         p.chains[0].instructions[0] = DelegateCall{0, {0}};
       },
       "takes 1 arguments"},
      {[](ExecutionPlan& p) { p.inputs.pop_back(); }, "inputs and outputs"},
      {[](ExecutionPlan& p) { p.values[2] = None{}; }, "kv_cache is no tensor of rank 2"},
      {[&](ExecutionPlan& p) {
         tensor(p, 3).sizes = {1, 1};
       },
       "scratch is no tensor of rank 1"},
      {[&](ExecutionPlan& p) { tensor(p, 0).scalar_type = ScalarType::kInt; }, "tokens is int32"},
      {[&](ExecutionPlan& p) {
         tensor(p, 0).sizes = {2, 32};
       },
       "sizes of tokens"},
      {[&](ExecutionPlan& p) {
         tensor(p, 4).sizes = {1, 32, 512};
       },
       "sizes of logits"},
      {[&](ExecutionPlan& p) { tensor(p, 0).shape_dynamism = ShapeDynamism::kStatic; },
       "tokens has a static"},
      {[&](ExecutionPlan& p) { tensor(p, 2).allocation->memory_id = 1; }, "not in arena 2"},
      {[&](ExecutionPlan& p) { tensor(p, 1).allocation.reset(); }, "not in arena 1"},
      {[&](ExecutionPlan& p) { tensor(p, 3).sizes = {0}; }, "scratch_bytes is 0"},
  };
  for (const Case& c : cases) {
    Program program = build_program(example_spec()).value();
    ExecutionPlan& plan = program.execution_plans[0];
    c.change(plan);
    const Status status = read_llm_method(plan).status();
    EXPECT_EQ(status.code(), ErrorCode::kUnsupported) << c.message;
    EXPECT_THAT(status.message(), HasSubstr("method \"prefill\": "));
    EXPECT_THAT(status.message(), HasSubstr(c.message));
  }
}

TEST(ScalarTypes, NamesAndSizes) {
  EXPECT_STREQ(scalar_type_name(ScalarType::kBFloat16), "bfloat16");
  EXPECT_EQ(scalar_type_bytes(ScalarType::kLong), 8u);
  EXPECT_STREQ(scalar_type_name(ScalarType{42}), "unknown");
  EXPECT_EQ(scalar_type_bytes(ScalarType{42}), 0u);
  EXPECT_EQ(tensor_bytes({.scalar_type = ScalarType{42}, .sizes = {1}}), std::nullopt);
  EXPECT_EQ(tensor_bytes({.scalar_type = ScalarType::kInt, .sizes = {}}), 4u);
  EXPECT_EQ(tensor_bytes({.scalar_type = ScalarType::kInt, .sizes = {3, 0}}), 0u);
}

}  // namespace
}  // namespace cria::pte

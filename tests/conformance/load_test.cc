// Loading: it maps weights and copies none; programs that are wrong are told apart.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "delegates/cpu/cpu_delegate.h"
#include "format/plan/plan.h"
#include "format/pte/llm_method.h"
#include "llm/process_memory.h"
#include "llm/program_model.h"
#include "runtime/test_program.h"
#include "tiny_decoder.h"

namespace cria {
namespace {

using ::testing::HasSubstr;

constexpr std::int64_t kRows = 65536, kColumns = 512;  // of a bfloat16 matrix: 64 MiB

// logits = table * table[token]: reads every weight once.
Plan large_plan() {
  Plan plan;
  plan.max_tokens = 1;
  plan.n_vocab = kRows;
  plan.kv = {1, 1, 2};
  plan.weights = {{"table", Encoding::kBF16, true, kRows, kColumns}};
  plan.buffers = {{"x", kColumns, false, 0}, {"logits", kRows, false, kColumns * 4}};
  plan.scratch_bytes = (kColumns + kRows) * 4;
  plan.ops = {{.kind = PlanOpKind::kEmbed, .out = 0, .weights = {0}},
              {.kind = PlanOpKind::kLinear, .x = 0, .out = 1, .weights = {0}},
              {.kind = PlanOpKind::kOutput, .x = 1}};
  return plan;
}

Status write_large(const std::string& path) {
  const Plan plan = large_plan();
  pte::ProgramSpec spec;
  spec.methods.resize(1);
  spec.methods[0].name = "decode";
  spec.methods[0].delegate_id = cpu_delegate()->name;
  spec.methods[0].blob = encode_plan(plan);
  CRIA_ASSIGN_OR_RETURN(spec.methods[0].arguments,
                        pte::llm_arguments({.max_tokens = 1,
                                            .n_positions = 16,
                                            .bytes_per_position = plan.kv.bytes_per_position(),
                                            .scratch_bytes = plan.scratch_bytes,
                                            .n_vocab = plan.n_vocab}));
  const std::size_t size_bytes = packed_size_bytes(Encoding::kBF16, kRows, kColumns).value();
  return write_program(path, std::move(spec), {{"table", std::vector<std::byte>(size_bytes)}});
}

TEST(Load, CopiesNoWeights) {
  TemporaryFile file;
  const Status written = write_large(file.path());
  ASSERT_TRUE(written.ok()) << written.message();
  DelegateRegistry registry;
  ASSERT_TRUE(registry.add(cpu_delegate()).ok());
  const ProcessMemory before = process_memory();
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "the thread sanitizer shadows what is read, also of mapped files, in memory";
#endif
  if (before.rss_anon_bytes == 0) GTEST_SKIP() << "this system does not tell a process's memory";

  Result<std::shared_ptr<const Program>> program = Program::load(file.path());
  ASSERT_TRUE(program.ok()) << program.status().message();
  ExecutorOptions options;
  options.n_threads = 1;
  Result<std::unique_ptr<ProgramModel>> model = ProgramModel::create(*program, registry, options);
  ASSERT_TRUE(model.ok()) << model.status().message();
  const ProcessMemory loaded = process_memory();
  EXPECT_LT(loaded.rss_file_bytes, before.rss_file_bytes + (8 << 20)) << "no weight was read";

  KvCache cache = *KvCache::allocate(*kv_cache_bytes((*model)->info(), 16));
  std::vector<float> logits(kRows);
  const std::int32_t id = 1;
  const Status status = (*model)->forward({&id, 1}, cache, LogitRows::kLast, logits);
  ASSERT_TRUE(status.ok()) << status.message();
  const ProcessMemory after = process_memory();
  EXPECT_GT(after.rss_file_bytes, before.rss_file_bytes + (48 << 20)) << "now they were";
  // Logits, scratch and threads are below 2 MiB; a copy of the weights would be 64.
  EXPECT_LT(after.rss_anon_bytes, before.rss_anon_bytes + (16 << 20));
}

// A small decoder in a file, to be spoilt.
class BadProgram : public ::testing::Test {
 protected:
  // Writes, loads and runs one token; the first error.
  Status use() {
    CRIA_RETURN_IF_ERROR(write_program(file_.path(), spec_, weights_));
    return load();
  }
  Status load() {
    DelegateRegistry registry;
    CRIA_RETURN_IF_ERROR(registry.add(cpu_delegate()));
    CRIA_ASSIGN_OR_RETURN(std::shared_ptr<const Program> program, Program::load(file_.path()));
    CRIA_ASSIGN_OR_RETURN(std::unique_ptr<ProgramModel> model,
                          ProgramModel::create(program, registry));
    CRIA_ASSIGN_OR_RETURN(KvCache cache,
                          KvCache::allocate(model->info().kv_bytes_per_position * kContext));
    std::vector<float> logits(static_cast<std::size_t>(model->info().n_vocab));
    const std::int32_t id = 0;
    return model->forward({&id, 1}, cache, LogitRows::kLast, logits);
  }

  TemporaryFile file_;
  DecoderShape shape_{32, 32, 20, 2, 1, 16};
  pte::ProgramSpec spec_ = decoder_spec(shape_, cpu_delegate()->name);
  WeightBytes weights_ = random_weights(decoder_plan(shape_, MethodKind::kVerify), 1);
};

TEST_F(BadProgram, TheUnspoiltOneRuns) {
  const Status status = use();
  EXPECT_TRUE(status.ok()) << status.message();
}

TEST_F(BadProgram, AWeightIsMissing) {
  weights_.erase("norm");
  const Status status = use();
  EXPECT_EQ(status.code(), ErrorCode::kBadInput);
  EXPECT_THAT(status.message(), HasSubstr("norm"));
  EXPECT_THAT(status.message(), HasSubstr(file_.path()));
}

TEST_F(BadProgram, AWeightHasAnotherSize) {
  weights_["norm"].resize(weights_["norm"].size() - 4);
  const Status status = use();
  EXPECT_EQ(status.code(), ErrorCode::kBadInput);
  EXPECT_THAT(status.message(), HasSubstr("124 bytes, expected 128"));
}

TEST_F(BadProgram, TheFileIsCut) {
  ASSERT_TRUE(use().ok());
  std::filesystem::resize_file(file_.path(), std::filesystem::file_size(file_.path()) - 1);
  EXPECT_EQ(load().code(), ErrorCode::kBadInput);
}

TEST_F(BadProgram, TheBlobIsNoPlan) {
  spec_.methods[0].blob.resize(spec_.methods[0].blob.size() / 2);
  EXPECT_EQ(use().code(), ErrorCode::kBadInput);
}

TEST_F(BadProgram, TheCallHasOtherArguments) {
  for (pte::MethodSpec& method : spec_.methods) {
    method.arguments.erase(method.arguments.begin() + pte::kScratchArgument);
  }
  EXPECT_EQ(use().code(), ErrorCode::kInvalidArgument);
}

TEST_F(BadProgram, TheScratchIsTooSmall) {
  for (pte::MethodSpec& method : spec_.methods) {
    method.arguments[pte::kScratchArgument].sizes = {64};
  }
  EXPECT_EQ(use().code(), ErrorCode::kInvalidArgument);
}

TEST_F(BadProgram, TheCacheHasAnotherShape) {
  for (pte::MethodSpec& method : spec_.methods) {
    method.arguments[pte::kKvCacheArgument].sizes[1] -= 2;
  }
  EXPECT_EQ(use().code(), ErrorCode::kInvalidArgument);
}

TEST_F(BadProgram, MethodsDisagree) {
  spec_.methods[0].arguments[pte::kKvCacheArgument].sizes[0] += 1;
  EXPECT_EQ(use().code(), ErrorCode::kBadInput);
}

TEST_F(BadProgram, ConstantsContradictTheMethods) {
  spec_.constants[0].values = {shape_.n_vocab + 1};
  EXPECT_EQ(use().code(), ErrorCode::kBadInput);
  spec_.constants[0].values = {shape_.n_vocab};
  spec_.constants[1].values = {kContext + 1};
  EXPECT_EQ(use().code(), ErrorCode::kBadInput);
}

TEST_F(BadProgram, ThereIsNoDecode) {
  spec_.methods.erase(spec_.methods.begin() + 1);
  const Status status = use();
  EXPECT_EQ(status.code(), ErrorCode::kNotFound);
  EXPECT_THAT(status.message(), HasSubstr("decode"));
}

}  // namespace
}  // namespace cria

// Folders that others quantized, through the compiler: what the kernels will read is what the
// folder says.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/mapped_file.h"
#include "compile/compile.h"
#include "format/plan/plan.h"
#include "format/pte/pte_reader.h"
#include "model/quantized_folder_for_test.h"
#include "targets/cpu/cpu_target.h"
#include "tensor/packing.h"

namespace cria {
namespace {

using ::testing::HasSubstr;

class QuantizedFolderCompileTest : public ::testing::Test {
 protected:
  void compile(const QuantizedModel& model, const std::string& recipe = "source") {
    write_quantized_folder(folder_, model);
    auto checkpoint = open_checkpoint(folder_.path());
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
    CompileRequest request;
    request.out_path = folder_.path() / "model.pte";
    request.recipe = recipe;
    request.cria_version = "test";
    Result<CompileSummary> summary = compile_checkpoint(**checkpoint, cpu_target(), request);
    ASSERT_TRUE(summary.ok()) << summary.status().message();
    summary_ = std::move(*summary);
    mapped_ = std::move(*MappedFile::open(request.out_path));
    file_ = std::move(*pte::read_pte(mapped_->bytes(), request.out_path));
    const pte::ExecutionPlan* execution = file_->program.find_method("decode");
    ASSERT_NE(execution, nullptr);
    plan_ = std::move(*decode_plan(file_->delegate_blob(execution->delegates.at(0)), "decode"));
  }

  const TensorReport& report(const std::string& name) {
    for (const TensorReport& tensor : summary_.tensors) {
      if (tensor.name == name) return tensor;
    }
    ADD_FAILURE() << name;
    return summary_.tensors.front();
  }

  // Calls check(plan weight, found, expected) for every row of the packed matrices.
  template <typename Check>
  void for_each_row(const QuantizedModel& model, const Check& check) {
    std::size_t n_seen = 0;
    for (const PlanWeight& weight : plan_->weights) {
      const auto expected = model.weights.find(weight.key);
      if (expected == model.weights.end()) continue;
      ++n_seen;
      const auto bytes = file_->named_data(weight.key);
      ASSERT_TRUE(bytes.has_value()) << weight.key;
      std::vector<float> found(static_cast<std::size_t>(weight.n_cols)), row(found.size());
      for (std::int64_t r = 0; r < weight.n_rows; ++r) {
        decode_packed_row(weight.encoding, *bytes, weight.n_cols, r, found);
        for (std::int64_t k = 0; k < weight.n_cols; ++k) row[k] = expected->second(r, k);
        check(weight, found, row);
      }
    }
    EXPECT_EQ(n_seen, model.weights.size());
  }

  void expect_bit_for_bit(const QuantizedModel& model, Encoding encoding) {
    compile(model);
    for_each_row(model, [&](const PlanWeight& weight, const auto& found, const auto& expected) {
      ASSERT_EQ(weight.encoding, encoding) << weight.key;
      ASSERT_EQ(found, expected) << weight.key;
    });
    for (const TensorReport& tensor : summary_.tensors) {
      EXPECT_EQ(tensor.relative_mse, 0) << tensor.name;
      EXPECT_EQ(tensor.note, "") << tensor.name;
    }
  }

  TemporaryFolder folder_;
  CompileSummary summary_;
  std::optional<MappedFile> mapped_;
  std::optional<pte::PteFile> file_;
  std::optional<Plan> plan_;
};

TEST_F(QuantizedFolderCompileTest, GptqInOrderIsCarriedBitForBit) {
  expect_bit_for_bit(small_gptq_model({.bits = 4}), Encoding::kQ5);
  expect_bit_for_bit(small_gptq_model({.bits = 4, .group_size = -1, .symmetric = true}),
                     Encoding::kQ4C);
  expect_bit_for_bit(small_gptq_model({.bits = 3}), Encoding::kQ4);
  expect_bit_for_bit(small_gptq_model({.bits = 3, .symmetric = true}), Encoding::kQ3);
  expect_bit_for_bit(small_gptq_model({.bits = 2}), Encoding::kQ3);
  expect_bit_for_bit(small_gptq_model({.bits = 2, .symmetric = true}), Encoding::kQ2);
  expect_bit_for_bit(small_gptq_model({.bits = 8, .symmetric = true}), Encoding::kQ8);
}

// 64 columns are one group, 96 are a group and a half.
TEST_F(QuantizedFolderCompileTest, WideGroupsKeepTheirWidth) {
  const QuantizedModel model = small_gptq_model({.group_size = 64, .version_1 = false});
  compile(model);
  for_each_row(model, [&](const PlanWeight& weight, const auto& found, const auto& expected) {
    ASSERT_EQ(weight.encoding, weight.n_cols == 64 ? Encoding::kQ5C : Encoding::kQ5G64);
    ASSERT_EQ(found, expected) << weight.key;
  });
}

TEST_F(QuantizedFolderCompileTest, AwqIsCarriedBitForBit) {
  expect_bit_for_bit(small_awq_model(), Encoding::kQ5);
}

TEST_F(QuantizedFolderCompileTest, Exl2InOrderIsCarriedBitForBit) {
  const QuantizedModel model = small_exl2_model(GroupOrder::kInOrder, /*with_head=*/true);
  compile(model);
  for_each_row(model, [&](const PlanWeight& weight, const auto& found, const auto& expected) {
    ASSERT_EQ(found, expected) << weight.key;
  });
  EXPECT_EQ(report("blk.0.attn_q.weight").encoding, Encoding::kQ5);
  EXPECT_EQ(report("blk.1.attn_q.weight").encoding, Encoding::kQ8);
  EXPECT_EQ(report("output.weight").encoding, Encoding::kQ6C);  // one group
}

// The loss that is reported is the loss there is, and it is small beside the step of the codes.
TEST_F(QuantizedFolderCompileTest, MixedGroupsReportTheirLoss) {
  for (const bool exl2 : {false, true}) {
    const QuantizedModel model = exl2 ? small_exl2_model(GroupOrder::kShuffled, false)
                                      : small_gptq_model({.order = GroupOrder::kShuffled});
    compile(model);
    std::map<std::string, double> error, sum;
    for_each_row(model, [&](const PlanWeight& weight, const auto& found, const auto& expected) {
      EXPECT_EQ(weight.encoding, Encoding::kQ8);
      for (std::size_t k = 0; k < found.size(); ++k) {
        const double off = static_cast<double>(found[k]) - expected[k];
        error[weight.key] += off * off;
        sum[weight.key] += static_cast<double>(expected[k]) * expected[k];
      }
    });
    for (const auto& [name, weights] : model.weights) {
      const TensorReport& tensor = report(name);
      EXPECT_THAT(tensor.note, HasSubstr("several groups lie in one block of 32")) << name;
      EXPECT_GT(tensor.relative_mse, 0) << name;
      EXPECT_NEAR(tensor.relative_mse, error[name] / sum[name], 1e-6 * tensor.relative_mse) << name;
    }
  }
}

TEST_F(QuantizedFolderCompileTest, CodesTooWideForTheEncodingsReportTheirLoss) {
  compile(small_gptq_model({.bits = 8}));
  EXPECT_EQ(report("blk.0.attn_q.weight").encoding, Encoding::kQ8);
  EXPECT_THAT(report("blk.0.attn_q.weight").note, HasSubstr("need more than 8 bits"));
  EXPECT_GT(report("blk.0.attn_q.weight").relative_mse, 0);
}

TEST_F(QuantizedFolderCompileTest, OtherRecipesStartFromTheFloats) {
  const QuantizedModel model = small_exl2_model(GroupOrder::kShuffled, false);
  compile(model, "f32");
  for_each_row(model, [&](const PlanWeight& weight, const auto& found, const auto& expected) {
    ASSERT_EQ(found, expected) << weight.key;
  });
  compile(model, "iq4_nl");
  EXPECT_EQ(report("blk.0.attn_q.weight").encoding, Encoding::kQ4Nl);
  EXPECT_EQ(report("blk.0.attn_q.weight").note, "");
  EXPECT_GT(report("blk.0.attn_q.weight").relative_mse, 0);
}

}  // namespace
}  // namespace cria

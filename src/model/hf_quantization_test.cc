#include "model/hf_quantization.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "model/checkpoint.h"
#include "model/quantized_folder_for_test.h"

namespace cria {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using Json = nlohmann::json;

std::string read(const char* config) {
  const Result<HfQuantization> read = read_hf_quantization(Json::parse(config), "config.json");
  return read.ok() ? read->description() : read.status().message();
}

TEST(HfQuantization, ReadsTheSpellingsThatAreInUse) {
  EXPECT_EQ(
      read(R"({"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": true, "sym": true,
                     "damp_percent": 0.01, "dynamic": {}, "lm_head": false})"),
      "GPTQ v1, 4 bits, groups of 128, act-order");
  EXPECT_EQ(
      read(R"({"quant_method": "gptq", "bits": 3, "group_size": -1, "checkpoint_format": "gptq_v2",
                     "pack_dtype": "int32"})"),
      "GPTQ v2, 3 bits, one group a row");
  EXPECT_EQ(read(R"({"quant_method": "gptq", "bits": 8, "group_size": 32, "format": "gptq_v2"})"),
            "GPTQ v2, 8 bits, groups of 32");
  EXPECT_EQ(
      read(
          R"({"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": true, "version": "gemm",
                     "modules_to_not_convert": null})"),
      "AWQ, 4 bits, groups of 128");
  EXPECT_EQ(read(R"({"quant_method": "awq", "w_bit": 4, "q_group_size": 64, "version": "GEMM"})"),
            "AWQ, 4 bits, groups of 64");
  EXPECT_EQ(read(R"({"quant_method": "exl2", "version": "0.1.1", "bits": 4.25, "head_bits": 6,
                     "calibration": {"rows": 100}})"),
            "EXL2, 4.25 bits a weight");
}

TEST(HfQuantization, NamesWhatIsNotRead) {
  const auto gptq = [](const char* more) {
    return read(
        (std::string(R"({"quant_method": "gptq", "bits": 4, "group_size": 128, )") + more + "}")
            .c_str());
  };
  EXPECT_THAT(
      gptq(R"("checkpoint_format": "marlin")"),
      HasSubstr(
          "\"checkpoint_format\" of quantization_config is \"marlin\"; only gptq and gptq_v2"));
  EXPECT_THAT(gptq(R"("format": "gptq_p")"), HasSubstr("is \"gptq_p\"; only gptq and gptq_v2"));
  EXPECT_THAT(gptq(R"("is_marlin_format": true)"), HasSubstr("Marlin"));
  EXPECT_THAT(gptq(R"("pack_dtype": "int16")"),
              HasSubstr("\"pack_dtype\" of quantization_config is \"int16\""));
  EXPECT_THAT(gptq(R"("dynamic": {"-:.*q_proj": {}})"), HasSubstr("\"dynamic\""));
  const auto awq = [](const char* more) {
    return read(
        (std::string(R"({"quant_method": "awq", "bits": 4, "group_size": 128, )") + more + "}")
            .c_str());
  };
  for (const char* version : {"gemv", "gemv_fast", "marlin", "exllama"}) {
    EXPECT_THAT(
        awq(fmt::format(R"("version": "{}")", version).c_str()),
        HasSubstr(fmt::format("\"version\" of quantization_config is \"{}\"; only gemm", version)));
  }
  EXPECT_THAT(awq(R"("zero_point": false)"), HasSubstr("without zero points"));
  EXPECT_THAT(read(R"({"quant_method": "compressed-tensors"})"),
              HasSubstr("quantized by \"compressed-tensors\""));
}

TEST(HfQuantization, RefusesAbsurdNumbers) {
  EXPECT_THAT(read("[]"), HasSubstr("quantization_config is a array"));
  EXPECT_THAT(read(R"({"quant_method": "gptq", "group_size": 128})"), HasSubstr("has no \"bits\""));
  EXPECT_THAT(read(R"({"quant_method": "gptq", "bits": 4})"), HasSubstr("has no \"group_size\""));
  EXPECT_THAT(read(R"({"quant_method": "gptq", "bits": "four", "group_size": 1})"),
              HasSubstr("bits"));
  EXPECT_THAT(read(R"({"quant_method": "gptq", "bits": 1000000007, "group_size": 1})"),
              HasSubstr("GPTQ of 1000000007 bits"));
  EXPECT_THAT(read(R"({"quant_method": "gptq", "bits": 4, "group_size": 0})"),
              HasSubstr("group_size is 0"));
  EXPECT_THAT(read(R"({"quant_method": "awq", "bits": 3, "group_size": 128})"),
              HasSubstr("AWQ of 3 bits"));
  EXPECT_THAT(read(R"({"quant_method": "exl2", "bits": -3.5})"), HasSubstr("EXL2 of -3.5 bits"));
}

class QuantizedFolderTest : public ::testing::Test {
 protected:
  Result<std::unique_ptr<Checkpoint>> open(const QuantizedModel& model) {
    write_quantized_folder(folder_, model);
    return open_checkpoint(folder_.path());
  }
  std::string error(const QuantizedModel& model) {
    auto opened = open(model);
    return opened.ok() ? "no error" : opened.status().message();
  }
  // Every packed weight, as floats, is what the model was made of, bit for bit.
  void expect_exact_floats(const QuantizedModel& model) {
    auto opened = open(model);
    ASSERT_TRUE(opened.ok()) << opened.status().message();
    for (const auto& [name, expected] : model.weights) {
      const Result<const StoredWeight*> weight = (*opened)->weight(name);
      ASSERT_TRUE(weight.ok()) << name;
      std::vector<float> row(static_cast<std::size_t>((*weight)->n_cols));
      for (std::int64_t r = 0; r < (*weight)->n_rows; ++r) {
        (*weight)->decode_row(r, row);
        for (std::int64_t k = 0; k < (*weight)->n_cols; ++k) {
          ASSERT_EQ(row[k], expected(r, k)) << name << " row " << r << " column " << k;
        }
      }
    }
  }

  TemporaryFolder folder_;
};

TEST_F(QuantizedFolderTest, EveryLayoutDecodesExactly) {
  for (const int bits : {2, 3, 4, 8}) {
    for (const GroupOrder order : {GroupOrder::kInOrder, GroupOrder::kShuffled}) {
      expect_exact_floats(small_gptq_model({.bits = bits, .version_1 = bits != 4, .order = order}));
    }
  }
  expect_exact_floats(small_gptq_model({.group_size = 64}));  // the last group of 96 columns has 32
  expect_exact_floats(small_gptq_model({.group_size = -1}));
  expect_exact_floats(small_awq_model());
  for (const GroupOrder order : {GroupOrder::kInOrder, GroupOrder::kShuffled}) {
    expect_exact_floats(small_exl2_model(order, /*with_head=*/order == GroupOrder::kShuffled));
  }
}

TEST_F(QuantizedFolderTest, SaysWhatItIs) {
  auto opened = open(small_awq_model());
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  EXPECT_EQ((*opened)->description(), "Hugging Face folder, 2 layers, AWQ, 4 bits, groups of 32");
  EXPECT_TRUE((*opened)->config().tied_embeddings);
  EXPECT_EQ((*opened)->weight("blk.0.attn_q.weight").value()->native_encoding(), Encoding::kQ5);
}

TEST_F(QuantizedFolderTest, AQuantizedHeadIsAHeadOfItsOwn) {
  auto opened = open(small_exl2_model(GroupOrder::kInOrder, /*with_head=*/true));
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  EXPECT_FALSE((*opened)->config().tied_embeddings);
  EXPECT_EQ((*opened)->weight("output.weight").value()->n_rows, 40);
}

TEST_F(QuantizedFolderTest, TakesModulesThatWereNotConverted) {
  QuantizedModel model = small_awq_model();
  for (const char* part : {"qweight", "qzeros", "scales"}) {
    model.tensors.erase_tensor(fmt::format("model.layers.1.mlp.down_proj.{}", part));
  }
  EXPECT_THAT(error(model), HasSubstr("\"model.layers.1.mlp.down_proj.weight\" is missing"));
  model.tensors.tensor("model.layers.1.mlp.down_proj.weight", "F16", {64, 96},
                       std::string(64 * 96 * 2, '\x11'));
  EXPECT_EQ(error(model), "no error");
}

TEST_F(QuantizedFolderTest, TakesBiasesOfZeros) {
  const std::string bias = "model.layers.0.mlp.up_proj.bias";
  QuantizedModel model = small_gptq_model({});
  model.tensors.tensor(bias, "F16", {96}, std::string(192, '\0'));
  EXPECT_EQ(error(model), "no error");
  model.tensors.erase_tensor(bias);
  model.tensors.tensor(bias, "F16", {96}, std::string(191, '\0') + '\x01');
  EXPECT_THAT(error(model), HasSubstr("mlp.up_proj: \"bias\" is not all zeros"));
}

// A good folder with one tensor of layer 0's key projection in another form.
std::string with_tensor(QuantizedModel model, const char* part, const char* dtype,
                        const std::vector<std::int64_t>& shape, const std::string& data,
                        const std::function<std::string(const QuantizedModel&)>& error) {
  const std::string name = fmt::format("model.layers.0.self_attn.k_proj.{}", part);
  model.tensors.erase_tensor(name);
  if (dtype != nullptr) model.tensors.tensor(name, dtype, shape, data);
  return error(model);
}

TEST_F(QuantizedFolderTest, NamesTensorsThatDoNotFit) {
  const auto error_of = [this](const QuantizedModel& model) { return error(model); };
  const QuantizedModel gptq = small_gptq_model({.order = GroupOrder::kShuffled});
  EXPECT_THAT(with_tensor(gptq, "qzeros", nullptr, {}, "", error_of),
              HasSubstr("k_proj: \"qzeros\" is missing"));
  EXPECT_THAT(with_tensor(gptq, "g_idx", nullptr, {}, "", error_of),
              HasSubstr("k_proj: \"g_idx\" is missing"));
  EXPECT_THAT(with_tensor(gptq, "scales", "F32", {2, 32}, std::string(256, 'a'), error_of),
              HasSubstr("k_proj: \"scales\" is F32 with 2 dimensions, expected F16 with 2"));
  EXPECT_THAT(with_tensor(gptq, "scales", "F16", {64}, std::string(128, 'a'), error_of),
              HasSubstr("\"scales\" is F16 with 1 dimensions, expected F16 with 2"));
  EXPECT_THAT(with_tensor(gptq, "qweight", "I32", {4, 32}, std::string(512, 'a'), error_of),
              HasSubstr("k_proj: qweight has shape [4, 32], expected [8, 32]"));
  EXPECT_THAT(with_tensor(gptq, "g_idx", "I32", {64}, std::string(256, '\x02'), error_of),
              HasSubstr("g_idx has group 33686018 for column 0, expected 0 to 1"));
  const QuantizedModel exl2 = small_exl2_model(GroupOrder::kShuffled, false);
  EXPECT_THAT(with_tensor(exl2, "q_invperm", "I16", {64}, std::string(128, '\0'), error_of),
              HasSubstr("k_proj: q_invperm has 0 for column 1, expected each of 0 to 63 once"));
  EXPECT_THAT(with_tensor(exl2, "q_groups", "I16", {4}, std::string(8, '\0'), error_of),
              HasSubstr("k_proj: q_groups gives group 0 0 bits"));
  EXPECT_THAT(with_tensor(exl2, "weight", "I32", {32, 64}, std::string(8192, '\0'), error_of),
              HasSubstr("k_proj.weight\" has dtype I32, expected F32, F16 or BF16"));
  QuantizedModel unsaid = gptq;
  unsaid.quantization_config = "null";
  EXPECT_THAT(error(unsaid), AllOf(HasSubstr("q_proj.qweight\" is quantized"),
                                   HasSubstr("no quantization_config")));
}

}  // namespace
}  // namespace cria

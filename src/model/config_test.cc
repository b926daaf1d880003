#include "model/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numbers>

#include "model/checkpoint_for_test.h"

namespace cria {
namespace {

using ::testing::HasSubstr;

TEST(RopeFrequencies, AreThetaToTheMinusTwoIOverD) {
  const auto frequencies = rope_inverse_frequencies(64, {.theta = 10000});
  ASSERT_EQ(frequencies.size(), 32U);
  for (int i = 0; i < 32; ++i) {
    EXPECT_EQ(frequencies[i], static_cast<float>(std::pow(10000.0, -2.0 * i / 64))) << i;
  }
}

TEST(RopeFrequencies, LinearScalingDividesAll) {
  const auto plain = rope_inverse_frequencies(64, {.theta = 10000});
  const auto scaled =
      rope_inverse_frequencies(64, {.theta = 10000, .factor = 4, .original_context = 0});
  for (std::size_t i = 0; i < plain.size(); ++i) EXPECT_EQ(scaled[i], plain[i] / 4) << i;
}

TEST(RopeFrequencies, Llama3ScalingKeepsShortWavesAndDividesLongOnes) {
  const RopeScaling scaling = {.theta = 500000, .factor = 32, .original_context = 8192};
  const auto plain = rope_inverse_frequencies(128, {.theta = 500000});
  const auto scaled = rope_inverse_frequencies(128, scaling);
  int n_kept = 0, n_blended = 0, n_divided = 0;
  for (std::size_t i = 0; i < plain.size(); ++i) {
    const double wavelength = 2 * std::numbers::pi / plain[i];
    if (wavelength < 8192.0 / 4) {
      EXPECT_EQ(scaled[i], plain[i]);
      ++n_kept;
    } else if (wavelength > 8192.0) {
      EXPECT_EQ(scaled[i], plain[i] / 32);  // a power of two: exact
      ++n_divided;
    } else {
      EXPECT_LT(scaled[i], plain[i]);
      EXPECT_GT(scaled[i], plain[i] / 32);
      ++n_blended;
    }
    EXPECT_LT(scaled[i], i == 0 ? 2.0F : scaled[i - 1]);
  }
  EXPECT_GT(n_kept, 0);
  EXPECT_GT(n_blended, 0);
  EXPECT_GT(n_divided, 0);
}

std::string error_after(void (*change)(LlamaConfig&)) {
  LlamaConfig config = small_model_config();
  change(config);
  const Status status = validate_config(config);
  EXPECT_TRUE(status.ok() || status.code() == ErrorCode::kBadInput);
  return status.ok() ? "no error" : status.message();
}

TEST(ValidateConfig, NamesTheFieldThatIsWrong) {
  EXPECT_EQ(error_after([](LlamaConfig&) {}), "no error");
  EXPECT_THAT(error_after([](LlamaConfig& c) { c.n_layers = 0; }),
              HasSubstr("n_layers is 0, expected 1 to"));
  EXPECT_THAT(error_after([](LlamaConfig& c) { c.hidden = -1; }), HasSubstr("hidden is -1"));
  EXPECT_THAT(error_after([](LlamaConfig& c) { c.ffn = 1LL << 40; }), HasSubstr("ffn is"));
  EXPECT_THAT(error_after([](LlamaConfig& c) { c.n_heads = 0; }), HasSubstr("n_heads is 0"));
  EXPECT_THAT(error_after([](LlamaConfig& c) { c.n_kv_heads = 3; }),
              HasSubstr("n_kv_heads is 3, expected a divisor of n_heads (2)"));
  EXPECT_THAT(error_after([](LlamaConfig& c) { c.head_dim = 5; }),
              HasSubstr("head_dim is 5, expected an even number"));
  EXPECT_THAT(error_after([](LlamaConfig& c) { c.n_vocab = 0; }), HasSubstr("n_vocab is 0"));
  EXPECT_THAT(error_after([](LlamaConfig& c) { c.max_context = 1LL << 40; }),
              HasSubstr("max_context is"));
}

TEST(ValidateConfig, RefusesNumbersThatAreNone) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  for (const float epsilon : {0.0F, -1.0F, 1.0F, kNan}) {
    LlamaConfig config = small_model_config();
    config.norm_epsilon = epsilon;
    EXPECT_THAT(validate_config(config).message(), HasSubstr("norm_epsilon is")) << epsilon;
  }
  for (const float frequency : {0.0F, -1.0F, kNan, std::numeric_limits<float>::infinity()}) {
    LlamaConfig config = small_model_config();
    config.rope_inverse_frequencies[1] = frequency;
    EXPECT_THAT(validate_config(config).message(), HasSubstr("rotary frequency 1 is"));
  }
  EXPECT_THAT(error_after([](LlamaConfig& c) { c.rope_inverse_frequencies.pop_back(); }),
              HasSubstr("1 rotary frequencies, expected 2"));
}

}  // namespace
}  // namespace cria

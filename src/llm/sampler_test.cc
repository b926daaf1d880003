#include "llm/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <random>
#include <set>

namespace cria {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Everything off but the drawing itself.
constexpr SamplingOptions kPlain = {.temperature = 1, .top_k = 0, .top_p = 1, .min_p = 0};

std::int32_t next(Sampler& sampler, std::span<const float> logits) {
  const auto id = sampler.next(logits);
  EXPECT_TRUE(id.ok()) << id.status().message();
  return id.ok() ? *id : -1;
}

std::vector<float> random_logits(std::mt19937& random, std::size_t n) {
  std::vector<float> logits(n);
  // Steps of 1/4: equal logits are frequent.
  for (float& logit : logits) logit = static_cast<float>(random() % 64) / 4 - 8;
  return logits;
}

// The rules, one after the other, on all tokens: what may be drawn.
std::set<std::int32_t> allowed(const std::vector<float>& logits, const SamplingOptions& options) {
  std::vector<std::int32_t> ids(logits.size());
  for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<std::int32_t>(i);
  const auto at = [&](std::int32_t id) { return double{logits[static_cast<std::size_t>(id)]}; };
  std::stable_sort(ids.begin(), ids.end(),
                   [&](std::int32_t a, std::int32_t b) { return at(a) > at(b); });
  if (options.top_k > 0) {
    ids.resize(std::min(ids.size(), static_cast<std::size_t>(options.top_k)));
  }
  double total = 0, reached = 0;
  for (const std::int32_t id : ids) total += std::exp(at(id) - at(ids[0]));
  std::size_t n = 0;
  while (n < ids.size()) {
    reached += std::exp(at(ids[n++]) - at(ids[0]));
    if (options.top_p < 1 && reached >= options.top_p * total) break;
  }
  ids.resize(n);
  std::erase_if(ids,
                [&](std::int32_t id) { return std::exp(at(id) - at(ids[0])) < options.min_p; });
  return {ids.begin(), ids.end()};
}

TEST(Sampler, GreedyTakesTheBestAndOfEqualsTheLowest) {
  for (const float temperature : {0.0f, -1.0f}) {
    Sampler sampler({.temperature = temperature});
    EXPECT_EQ(next(sampler, std::vector<float>{1, 5, 3, 5}), 1);
    EXPECT_EQ(next(sampler, std::vector<float>{-kInfinity, -7, -7}), 1);
  }
}

TEST(Sampler, DrawsExactlyWhatTheRulesAllow) {
  std::mt19937 random(1);
  for (int i = 0; i < 300; ++i) {
    const std::vector<float> logits = random_logits(random, 1 + random() % 40);
    SamplingOptions options = {.temperature = 100};  // flat, so that all that may come does
    options.top_k = static_cast<int>(random() % 50);
    // Odd values: no sum of a few exponentials comes within rounding of them.
    options.top_p = std::array{1.0f, 0.917f, 0.531f, 0.0f}[random() % 4];
    options.min_p = std::array{0.0f, 0.0531f, 0.317f, 1.0f}[random() % 4];
    options.seed = random();
    Sampler sampler(options);
    std::set<std::int32_t> drawn;
    for (int j = 0; j < 2000; ++j) drawn.insert(next(sampler, logits));
    ASSERT_EQ(drawn, allowed(logits, options))
        << options.top_k << " " << options.top_p << " " << options.min_p;
  }
}

TEST(Sampler, FrequenciesAreTheSoftmax) {
  const std::vector<float> logits = {0, 1, 2, -1, 0.5f, -kInfinity};
  for (const float temperature : {0.5f, 1.0f, 2.0f}) {
    SamplingOptions options = kPlain;
    options.temperature = temperature;
    options.seed = 7;
    Sampler sampler(options);
    constexpr int kDraws = 200000;
    std::map<std::int32_t, int> counts;
    for (int i = 0; i < kDraws; ++i) ++counts[next(sampler, logits)];
    double total = 0;
    for (const float logit : logits) total += std::exp(double{logit} / temperature);
    for (std::size_t i = 0; i < logits.size(); ++i) {
      const double p = std::exp(double{logits[i]} / temperature) / total;
      // Five standard deviations of a binomial count.
      const double bound = 5 * std::sqrt(kDraws * p * (1 - p));
      EXPECT_NEAR(counts[static_cast<std::int32_t>(i)], kDraws * p, bound) << i;
    }
  }
}

// The same on every machine: these were drawn once and must never change.
TEST(Sampler, ASeedGivesTheSameTokensEverywhere) {
  const std::vector<float> logits(1000, 0.0f);
  SamplingOptions options = kPlain;
  options.seed = 42;
  Sampler sampler(options);
  std::vector<std::int32_t> ids;
  for (int i = 0; i < 6; ++i) ids.push_back(next(sampler, logits));
  EXPECT_THAT(ids, ElementsAre(741, 159, 278, 344, 38, 868));
}

TEST(Sampler, ResetEqualsFresh) {
  std::mt19937 random(2);
  const std::vector<float> logits = random_logits(random, 50);
  Sampler sampler({.repeat_penalty = 1.5f, .seed = 3});
  const auto run = [&] {
    std::vector<std::int32_t> ids;
    for (int i = 0; i < 50; ++i) {
      ids.push_back(next(sampler, logits));
      sampler.accept(ids.back());
    }
    return ids;
  };
  const auto first = run();
  sampler.reset();
  EXPECT_EQ(run(), first);
  EXPECT_NE(run(), first);  // without a reset it goes on
}

TEST(Sampler, PenaltyPushesRecentTokensDown) {
  Sampler sampler({.temperature = 0, .repeat_penalty = 2, .repeat_last_n = 2});
  const std::vector<float> logits = {4, 3, -1, -1.5f};
  EXPECT_EQ(next(sampler, logits), 0);
  sampler.accept(0);
  sampler.accept(0);  // twice is not penalized twice
  EXPECT_EQ(next(sampler, logits), 1);
  EXPECT_EQ(next(sampler, std::vector<float>{4, 1.9f}), 0);
  sampler.accept(1);
  EXPECT_EQ(next(sampler, logits), 0);  // 2 against 1.5
  sampler.accept(3);
  EXPECT_EQ(next(sampler, logits), 0);  // 0 is forgotten
  sampler.accept(2);
  EXPECT_EQ(next(sampler, std::vector<float>{-10, -10, -1, -1.5f}), 2);  // -2 against -3
  sampler.accept(-1);
  sampler.accept(1 << 30);  // not of these logits
  EXPECT_EQ(next(sampler, logits), 0);
}

TEST(Sampler, PenaltyMayLookBackOnAllOrNothing) {
  const std::vector<float> logits = {4, 3};
  for (const int last_n : {-1, 0}) {
    Sampler sampler({.temperature = 0, .repeat_penalty = 2, .repeat_last_n = last_n});
    sampler.accept(0);
    for (int i = 0; i < 1000; ++i) sampler.accept(5);
    EXPECT_EQ(next(sampler, logits), last_n == -1 ? 1 : 0);
  }
}

TEST(Sampler, RefusesLogitsThatAreNoProbabilities) {
  for (const float temperature : {0.0f, 1.0f}) {
    Sampler sampler({.temperature = temperature});
    const auto error_of = [&](const std::vector<float>& logits) {
      const auto id = sampler.next(logits);
      return id.ok() ? std::string("accepted") : id.status().message();
    };
    EXPECT_THAT(error_of({1, NAN, 2}), HasSubstr("token 1 is nan"));
    EXPECT_THAT(error_of({1, 2, kInfinity}), HasSubstr("token 2 is inf"));
    EXPECT_THAT(error_of({-kInfinity, -kInfinity}), HasSubstr("no token is possible"));
    EXPECT_THAT(error_of({}), HasSubstr("0 logits"));
    EXPECT_THAT(error_of({-3.4e38f, 3.4e38f}), HasSubstr("accepted"));
  }
}

TEST(Sampler, ChecksItsOptions) {
  EXPECT_TRUE(validate({}).ok());
  EXPECT_TRUE(validate(kPlain).ok());
  const auto error_of = [](const SamplingOptions& options) { return validate(options).message(); };
  EXPECT_THAT(error_of({.temperature = NAN}), HasSubstr("temperature is nan"));
  EXPECT_THAT(error_of({.temperature = kInfinity}), HasSubstr("temperature is inf"));
  EXPECT_THAT(error_of({.top_k = -1}), HasSubstr("top_k is -1"));
  EXPECT_THAT(error_of({.top_p = 1.1f}), HasSubstr("top_p is 1.1"));
  EXPECT_THAT(error_of({.top_p = NAN}), HasSubstr("top_p"));
  EXPECT_THAT(error_of({.min_p = -0.1f}), HasSubstr("min_p is -0.1"));
  EXPECT_THAT(error_of({.repeat_penalty = 0}), HasSubstr("repeat_penalty is 0"));
  EXPECT_THAT(error_of({.repeat_last_n = -2}), HasSubstr("repeat_last_n is -2"));
}

}  // namespace
}  // namespace cria

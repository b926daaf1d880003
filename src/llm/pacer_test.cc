#include "llm/pacer.h"

#include <gtest/gtest.h>

namespace cria {
namespace {

using std::chrono::milliseconds;

TEST(Pacer, StepsAreAnIntervalApart) {
  Pacer pacer(10);
  const Pacer::Time start{milliseconds(1000)};
  EXPECT_EQ(pacer.delay(start), milliseconds(0));
  EXPECT_EQ(pacer.delay(start + milliseconds(30)), milliseconds(70));
  EXPECT_EQ(pacer.delay(start + milliseconds(130)), milliseconds(70));
}

TEST(Pacer, UnusedTimeIsNotSavedUp) {
  Pacer pacer(10);
  const Pacer::Time start{milliseconds(1000)};
  EXPECT_EQ(pacer.delay(start), milliseconds(0));
  EXPECT_EQ(pacer.delay(start + milliseconds(5000)), milliseconds(0));
  EXPECT_EQ(pacer.delay(start + milliseconds(5000)), milliseconds(100));
}

TEST(Pacer, WithoutAPaceNothingWaits) {
  Pacer pacer;
  const Pacer::Time start{milliseconds(1000)};
  for (int i = 0; i < 3; ++i) EXPECT_EQ(pacer.delay(start), milliseconds(0));
}

}  // namespace
}  // namespace cria

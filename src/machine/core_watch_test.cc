#include <gtest/gtest.h>

#include <array>

#include "cria/machine.h"
#include "machine/quiet_cores.h"

namespace cria {
namespace {

bool note(QuietCores& cores, double first, double second) {
  return cores.note(std::array<CoreRate, 2>{{{0, first}, {1, second}}});
}

TEST(QuietCores, EachIsJudgedByItsOwnBest) {
  QuietCores cores;
  EXPECT_TRUE(note(cores, 10, 4));  // a fast core and a slow one, nothing known of them
  EXPECT_TRUE(note(cores, 9.1, 3.7));
  EXPECT_FALSE(note(cores, 5, 4));
  EXPECT_FALSE(note(cores, 10, 2));
  EXPECT_TRUE(note(cores, 14, 4));  // so it was disturbed before
  EXPECT_FALSE(note(cores, 10, 4));
  EXPECT_TRUE(cores.note(std::array<CoreRate, 1>{{{1, 4}}}));  // a thread moved
  EXPECT_EQ(cores.best_additions_per_second(), 14);
}

// Whether others disturb is not known here: only that a watch ends.
TEST(CoreWatch, WatchesAnyNumberOfThreads) {
  for (int n_threads : {-1, 1, 100000}) {
    CoreWatch watch(n_threads);
    watch.is_quiet();
    EXPECT_GT(watch.best_additions_per_second(), 0);
  }
}

}  // namespace
}  // namespace cria

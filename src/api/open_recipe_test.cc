#include "api/open_recipe.h"

#include <gtest/gtest.h>

namespace cria {
namespace {

TEST(OpenRecipe, TheDefaultGoesByTheSize) {
  EXPECT_EQ(default_recipe(499'999'999, true), "source");
  EXPECT_EQ(default_recipe(1'235'814'400, true), "q5");  // Llama 3.2 1B
  EXPECT_EQ(default_recipe(3'212'749'888, true), "q4");  // 3B
  EXPECT_EQ(default_recipe(3'212'749'888, false), "source");
}

}  // namespace
}  // namespace cria

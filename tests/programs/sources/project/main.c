#include "util.h"
#include <stdio.h>

int main(int count, char **arguments)
{
    printf("%s %d\n", count > 1 ? arguments[1] : "none", util(count));
    return 0;
}

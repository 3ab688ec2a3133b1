#include "util.h"

int util(int number)
{
    return number + 1;
}

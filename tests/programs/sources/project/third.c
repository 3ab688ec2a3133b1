#include "util.h"

int third(int number)
{
    return number * 3;
}

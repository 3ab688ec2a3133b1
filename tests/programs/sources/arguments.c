/* Prints its arguments. */
#include <stdio.h>

int main(int count, char **arguments)
{
    for (int index = 0; index < count; index++)
        printf("%s%c", arguments[index], index == count - 1 ? '\n' : ' ');
    return 0;
}
